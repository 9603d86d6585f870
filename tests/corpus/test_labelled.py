"""Labelled corpora, the transfer set made from them, and looking at them."""

from __future__ import annotations

import os
import shutil

import pytest
from support.hub_mirror import write_table

from xtremedistil_ner.commands.terminal import format_check
from xtremedistil_ner.corpus.check import check_corpus, corpus_stats
from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.recipe.data_sections import CorpusSection


def write(path, *sentences):
    """Each sentence is `word/tag word/tag`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ("".join(f"{pair.replace('/', chr(9))}\n" for pair in sentence.split()) for sentence in sentences)
    path.write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "en" / "train.tsv", "Ann/B-PER sang/O", "Bob/B-PER left/O", "No/O")
    write(tmp_path / "en" / "test.tsv", "Cy/B-PER in/O Rome/B-LOC")
    write(tmp_path / "no" / "train.tsv", "i/O Oslo/B-LOC", "Fram/B-ORG sank/O")
    write(tmp_path / "tl" / "test.tsv", "si/O Dan/B-PER")
    return tmp_path


def opened(folder, **section):
    return open_corpus(CorpusSection(path=str(folder), **section))


def test_languages_and_types_default_to_what_the_corpus_has(folder):
    corpus = opened(folder)
    assert corpus.languages == ("en", "no", "tl")
    assert corpus.scheme.types == ("LOC", "ORG", "PER")


def test_a_corpus_without_training_text_takes_its_types_from_the_other_splits(folder):
    assert opened(folder, languages=("tl",)).scheme.types == ("PER",)


def test_a_corpus_that_has_changed_is_read_again_for_its_types(folder):
    assert opened(folder, languages=("en",)).scheme.types == ("PER",)
    write(folder / "en" / "train.tsv", "Ann/B-PER sang/O", "Bob/B-LOC left/O", "No/O")
    assert opened(folder, languages=("en",)).scheme.types == ("LOC", "PER")


def test_the_order_of_languages_and_types_is_the_recipes(folder):
    corpus = opened(folder, languages=("no", "en"), types=("PER", "LOC", "ORG"))
    assert (corpus.languages, corpus.scheme.types) == (("no", "en"), ("PER", "LOC", "ORG"))


def test_an_unknown_language_is_refused_with_those_there_are(folder):
    with pytest.raises(CorpusError, match=r"no language xx, yy\. There are: en, no, tl\."):
        opened(folder, languages=("en", "xx", "yy"))


def test_a_missing_split_has_no_sentences(folder):
    corpus = opened(folder)
    assert corpus.sentences("tl", "train") == ()
    assert len(corpus.sentences("tl", "test")) == 1


def test_only_training_sentences_are_cut(folder):
    corpus = opened(folder, train_sentences=2, types=("PER", "LOC"), languages=("en",))
    assert [sentence.words[0] for sentence in corpus.sentences("en", "train")] == ["Ann", "Bob"]
    write(folder / "en" / "dev.tsv", "a/O", "b/O", "c/O")
    assert len(corpus.sentences("en", "dev")) == 3


def test_a_tag_outside_the_scheme_is_refused_with_its_line(folder):
    corpus = opened(folder, languages=("en",))
    with pytest.raises(CorpusError, match=r"en/test\.tsv:3: tag 'B-LOC': the types are PER\. Map LOC, or leave"):
        corpus.sentences("en", "test")


def test_the_content_hash_changes_with_the_file_and_with_the_cut_of_training_text(folder):
    corpus, cut = opened(folder), opened(folder, train_sentences=2)
    assert corpus.content_hash("en", "train") != cut.content_hash("en", "train")
    assert corpus.content_hash("en", "test") == cut.content_hash("en", "test")
    before = corpus.content_hash("en", "test")
    write(folder / "en" / "test.tsv", "Cy/B-PER in/O Rom/B-LOC")
    assert corpus.content_hash("en", "test") != before


def test_repaired_tags_and_skipped_lines_are_counted_whatever_was_read_before(folder):
    write(folder / "en" / "train.tsv", "Ann/I-PER Lee/I-PER sang/O", "Bob/B-PER Rome/I-LOC")
    with (folder / "en" / "train.tsv").open("a", encoding="utf-8") as stream:
        stream.write("\n# a comment\nx\tO\n")
    corpus = opened(folder)
    assert corpus.repairs("en", ("train", "dev", "test")) == (2, 1, {})
    assert corpus.repairs("en", ("test",)) == (0, 0, {})


def test_the_demo_corpus_opens_by_name():
    assert {"de", "en", "ru"} <= set(open_corpus(CorpusSection()).languages)


def test_statistics_count_sentences_words_and_entities(folder):
    first = corpus_stats(folder)[0]
    assert (first.language, first.split, first.sentences, first.words) == ("en", "train", 3, 5)
    assert first.entities == {"PER": 2}
    assert [(stats.language, stats.split) for stats in corpus_stats(folder)] == [
        ("en", "train"), ("en", "test"), ("no", "train"), ("tl", "test"),
    ]  # fmt: skip


def test_a_check_collects_the_problems_of_all_files(folder):
    (folder / "en" / "dev.tsv").write_text("lonely\n")
    (folder / "no.txt").write_bytes(b"\xff\n")
    check = check_corpus(folder)
    assert [problem.removeprefix(f"{folder}/").split(": ")[0] for problem in check.problems] == [
        "en/dev.tsv:1:7",
        "no.txt:1:1",
    ]
    assert len(check.stats) == 4


def test_a_check_reads_the_text_of_languages_without_labels_and_a_folder_of_text_alone(folder):
    (folder / "text").mkdir()
    (folder / "text" / "qq.txt").write_bytes(b"\xff\n")
    assert ["qq.txt:1:1: byte" in problem for problem in check_corpus(folder / "text").problems] == [True]
    (folder / "text" / "qq.txt").write_text("Unu frazo .\n", encoding="utf-8")
    check = check_corpus(folder / "text")
    assert (check.problems, check.stats, check.texts) == ((), (), ("qq",))
    (folder / "qq.txt").write_bytes(b"\xff\n")
    assert len(check_corpus(folder).problems) == 1


def test_a_check_names_the_languages_of_raw_text_and_files_that_are_none(folder):
    no_text = ["CHANGELOG.txt.gz", "LICENSE-data.txt", "README.en.txt", "README.txt", "Readme.jsonl", "THIRD_PARTY.txt"]
    for name in (*no_text, "ENG.txt", "en.txt", "qqLatn.txt"):
        (folder / name).write_text("x\n", encoding="utf-8")
    check = check_corpus(folder)
    assert (check.problems, check.texts, list(check.unread)) == ((), ("ENG", "en", "qqLatn"), no_text)
    assert "Languages of raw text: ENG, en, qqLatn." in format_check(check, "here").splitlines()


def test_a_check_names_the_files_that_no_run_reads(folder):
    write(folder / "en" / "training.tsv", "Ann/B-PER")
    (folder / "en" / ".hidden").touch()
    (folder / "notes.md").touch()
    check = check_corpus(folder)
    assert (check.problems, check.unread) == ((), ("en/training.tsv", "notes.md"))
    assert format_check(check, "here").splitlines()[1] == "Not read, because of their names: en/training.tsv, notes.md."


def test_languages_that_differ_in_case_alone_are_refused_wherever_a_folder_is_read(folder):
    write(folder / "EN" / "train.tsv", "Ann/B-PER")
    for read in (check_corpus, corpus_stats, opened):
        with pytest.raises(CorpusError, match="languages EN and en differ in case alone"):
            read(folder)
    shutil.rmtree(folder / "EN")
    (folder / "EN.txt").write_text("x\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="languages EN and en differ in case alone"):
        check_corpus(folder)


def test_a_check_reads_every_format(tmp_path):
    (tmp_path / "xx").mkdir()
    (tmp_path / "xx" / "train.jsonl").write_text('{"tokens": ["Ada", "B"], "tags": ["I-PER", "I-MISC"]}\n')
    write_table(tmp_path / "xx" / "test.parquet", [(["Oslo"], ["B-LOC"])], names=None)
    (tmp_path / "xx.jsonl").write_text('{"text": "a"}\n')
    check = check_corpus(tmp_path)
    assert check.problems == ()
    assert [(stats.split, stats.tag_format, stats.entities) for stats in check.stats] == [
        ("train", "IOB1", {"MISC": 1, "PER": 1}), ("test", "IOB2", {"LOC": 1}),
    ]  # fmt: skip
    (tmp_path / "xx.jsonl").write_text('{"text": ""}\n')
    assert ["xx.jsonl: no sentence" in problem for problem in check_corpus(tmp_path).problems] == [True]


def test_the_source_of_a_corpus_is_its_path(folder):
    assert opened(folder).source == {"path": str(folder)}
    demo = open_corpus(CorpusSection(languages=("de",), types=("PER", "LOC", "ORG")))
    assert (demo.source, demo.synthetic) == ({"path": "demo"}, True)
    assert not opened(folder).synthetic


def test_hashes_follow_a_file_that_changes_without_a_change_of_its_size(folder):
    path = folder / "en" / "test.tsv"
    long_ago = path.stat().st_mtime - 1000
    hashes = set()
    for number, word in enumerate(("Rome", "Oslo", "Bonn")):
        write(path, f"Cy/B-PER in/O {word}/B-LOC")
        if number < 2:
            os.utime(path, (long_ago + number, long_ago + number))
        hashes |= {opened(folder).content_hash("en", "test") for _ in range(2)}
    assert len(hashes) == 3


def test_a_folder_without_labelled_text_is_a_problem(tmp_path):
    assert "no labelled and no raw text" in check_corpus(tmp_path).problems[0]
    with pytest.raises(CorpusError, match="no labelled text"):
        opened(tmp_path)


def test_a_check_names_texts_without_annotations_and_links_to_nothing(folder):
    (folder / "en" / "test").mkdir(exist_ok=True)
    (folder / "en" / "test" / "a.txt").write_text("x\n", encoding="utf-8")
    (folder / "fr.txt").symlink_to("/nowhere")
    assert {"en/test/a.txt", "fr.txt"} <= {*check_corpus(folder).unread}


def test_words_of_training_sentences_are_those_of_the_tagger_where_it_is_asked(folder):
    write(folder / "tr" / "train.tsv", "Bern'de/B-LOC bir/O U.S./B-ORG Co/I-ORG A-B/O")
    write(folder / "tr" / "dev.tsv", "Bern'de/B-LOC")
    corpus = opened(folder, languages=("tr",), split_words=True)
    (sentence,) = corpus.sentences("tr", "train")
    pairs = [f"{word}/{tag}" for word, tag in zip(sentence.words, sentence.tags, strict=True)]
    assert " ".join(pairs) == ("Bern/B-LOC '/I-LOC de/I-LOC bir/O U/B-ORG ./I-ORG S/I-ORG ./I-ORG Co/I-ORG A/O -/O B/O")
    assert corpus.training_text("tr")[0].words == sentence.words
    assert corpus.sentences("tr", "dev")[0].words == ("Bern'de",)
    plain = opened(folder, languages=("tr",), split_words=False)
    assert plain.sentences("tr", "train")[0].words == ("Bern'de", "bir", "U.S.", "Co", "A-B")
    assert plain.content_hash("tr", "train") != corpus.content_hash("tr", "train")
    assert plain.content_hash("tr", "dev") == corpus.content_hash("tr", "dev")
    assert plain.training_text_hash("tr") != corpus.training_text_hash("tr")


def test_a_word_that_the_tagger_would_not_see_stays(folder):
    write(folder / "tr" / "train.tsv", "\u200b/O Ann/B-PER")
    corpus = opened(folder, languages=("tr",), split_words=True)
    assert corpus.sentences("tr", "train")[0].words == ("\u200b", "Ann")
