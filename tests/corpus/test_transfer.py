"""The transfer set: no duplicates, nothing of dev and test, no tags."""

from __future__ import annotations

import pytest

from corpus.test_labelled import opened, write
from xtremedistil_ner.corpus.transfer import (
    TransferCounts,
    held_out_keys,
    iter_transfer,
    sentence_key,
    transfer_hash,
    transfer_languages,
)
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.recipe.data_sections import TransferSection


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "en" / "train.tsv", "Ann/B-PER sang/O", "ANN/B-PER sang/O", "Cy/B-PER left/O")
    write(tmp_path / "en" / "test.tsv", "cy/B-PER left/O")
    write(tmp_path / "en" / "dev.tsv", "Hi/O")
    write(tmp_path / "no" / "train.tsv", "Oslo/B-LOC")
    write(tmp_path / "no" / "dev.tsv", "Du/O kom/O")
    (tmp_path / "en.txt").write_text("Annsang\nDu kom.\nDu kom\nＨi\nNew.\nnew .\n", encoding="utf-8")
    return tmp_path


def texts(corpus, section, language="en", **options):
    held_out = held_out_keys(corpus)
    return [
        " ".join(sentence.words) for sentence in iter_transfer(corpus, section, language, held_out=held_out, **options)
    ]


@pytest.mark.parametrize(("one", "other"), [("A b", "ab"), ("Straße", "STRASSE"), ("ﬁn", "fin"), ("a\u00a0b", "A B")])
def test_case_spacing_and_compatibility_forms_do_not_make_another_sentence(one, other):
    assert sentence_key(one.split(" ")) == sentence_key(other.split(" "))


def test_other_words_make_another_sentence():
    assert sentence_key(["Ann", "sang"]) != sentence_key(["Ann", "sank"])


def test_training_text_comes_first_then_raw_text_without_duplicates_and_held_out_sentences(folder):
    counts = TransferCounts()
    kept = texts(opened(folder), TransferSection(path=str(folder)), counts=counts)
    assert kept == ["Ann sang", "Du kom .", "New ."]
    assert counts == TransferCounts(read=9, duplicates=3, held_out=3, kept=3)


def test_transfer_sentences_have_no_tags(folder):
    corpus = opened(folder)
    sentences = list(iter_transfer(corpus, TransferSection(), "en", held_out=held_out_keys(corpus)))
    assert sentences and all(sentence.tags is None for sentence in sentences)


def test_either_source_can_be_left_out(folder):
    corpus = opened(folder)
    assert texts(corpus, TransferSection(path=str(folder), training_text=False)) == ["Annsang", "Du kom .", "New ."]
    assert texts(corpus, TransferSection()) == ["Ann sang"]
    assert texts(corpus, TransferSection(path=str(folder), training_text=False, sentences=2)) == ["Annsang", "Du kom ."]


def test_languages_outside_the_recipe_hold_their_sentences_out_too(folder):
    assert held_out_keys(opened(folder, languages=("en",))) == held_out_keys(opened(folder))


def test_a_broken_file_matters_only_to_a_recipe_with_its_language(folder):
    (folder / "no" / "dev.tsv").write_text("lonely\n")
    assert sentence_key(["Hi"]) in held_out_keys(opened(folder, languages=("en",)))
    with pytest.raises(CorpusError, match=r"no/dev\.tsv:1:7"):
        held_out_keys(opened(folder))


def test_a_language_without_raw_text_has_its_training_text(folder):
    assert texts(opened(folder), TransferSection(path=str(folder)), "no") == ["Oslo"]


def test_a_missing_text_folder_is_named(folder):
    with pytest.raises(CorpusError, match=r"absent: no such folder"):
        texts(opened(folder), TransferSection(path=str(folder / "absent")))


def test_text_of_none_of_the_languages_is_refused_before_anything_runs(folder):
    (folder / "text").mkdir()
    section = TransferSection(path=str(folder / "text"))
    with pytest.raises(CorpusError, match=r"text: no text of en, no\. Put files such as en\.txt there\."):
        transfer_languages(opened(folder), section)
    write(folder / "text" / "qq.txt", "Unu frazo .")
    assert transfer_languages(opened(folder), section) == ("en", "no", "qq")
    for corpus, languages in ((opened(folder, languages=("en",)), ()), (opened(folder), ("en",))):
        with pytest.raises(CorpusError, match=r"text: no text of en\. It has qq\."):
            transfer_languages(corpus, section.model_copy(update={"languages": languages}))


def test_the_hash_follows_everything_that_decides_the_content(folder):
    corpus, section = opened(folder), TransferSection(path=str(folder))
    hashes = [
        transfer_hash(corpus, section, "en"),
        transfer_hash(corpus, section, "no"),
        transfer_hash(corpus, TransferSection(), "en"),
        transfer_hash(corpus, TransferSection(path=str(folder), sentences=3), "en"),
        transfer_hash(corpus, TransferSection(path=str(folder), training_text=False), "en"),
    ]
    write(folder / "no" / "dev.tsv", "Du/O gikk/O")
    hashes.append(transfer_hash(corpus, section, "en"))
    assert len(set(hashes)) == len(hashes)


def test_the_hash_of_a_language_does_not_follow_the_choice_of_other_languages(folder):
    section = TransferSection(path=str(folder))
    assert transfer_hash(opened(folder, languages=("en",)), section, "en") == transfer_hash(
        opened(folder), section, "en"
    )


def test_the_demo_corpus_brings_raw_text_of_its_own():
    corpus = opened("demo", languages=("de",))
    counts = TransferCounts()
    texts(corpus, TransferSection(path="demo"), "de", counts=counts)
    assert counts.read == 1300 + 500
    assert counts.held_out == 0


def test_a_limit_on_labelled_sentences_leaves_the_transfer_text_whole(folder):
    cut, whole = opened(folder, train_sentences=1), opened(folder)
    assert len(cut.sentences("en", "train")) == 1 < len(whole.sentences("en", "train"))
    assert texts(cut, TransferSection(), "en") == texts(whole, TransferSection(), "en")
    assert transfer_hash(cut, TransferSection(), "en") == transfer_hash(whole, TransferSection(), "en")


def test_transfer_text_of_languages_without_labels_is_taken_unless_the_recipe_names_languages(folder):
    write(folder / "qq.txt", "Unu frazo .")
    section = TransferSection(path=str(folder))
    assert "qq" in transfer_languages(opened(folder), section)
    assert transfer_languages(opened(folder, languages=("en",)), section) == ("en",)
    assert transfer_languages(opened(folder), TransferSection(path=str(folder), languages=("qq",))) == ("qq",)
    assert transfer_languages(opened(folder), TransferSection()) == opened(folder).languages
