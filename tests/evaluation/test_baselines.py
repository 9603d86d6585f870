"""Names without contexts, and contexts without names, on corpora of a few sentences."""

from __future__ import annotations

import pytest

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.evaluation.baselines import baseline_scores, learn_contexts, learn_names
from xtremedistil_ner.recipe.data_sections import CorpusSection


def sentences(*texts):
    """Each text is `word/tag word/tag`; a word without a tag is outside."""
    pairs = [[(word.partition("/")[0], word.partition("/")[2] or "O") for word in text.split()] for text in texts]
    return [Sentence(str(n), "en", *map(tuple, zip(*words, strict=True))) for n, words in enumerate(pairs)]


NAMES = sentences(
    "New/B-LOC York/I-LOC is far",
    "York/B-ORG won",
    "York/B-ORG lost",
    "he saw York/B-LOC",
)
# Every name once, so that only what stands around it can be learnt.
CONTEXTS = sentences(
    "she lives in Oslo/B-LOC .",
    "he lives in Lima/B-LOC .",
    "she met Ann/B-PER Lee/I-PER here",
    "he met Bob/B-PER Day/I-PER here",
    "he met Cy/B-PER here",
)


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("far New York", "O B-LOC I-LOC"),  # the longest name
        ("in York", "O B-ORG"),  # its most frequent type, though the context says LOC
        ("York York", "B-ORG B-ORG"),
        ("York New York", "B-ORG B-LOC I-LOC"),
        ("new York , Bergen", "O B-ORG O O"),
        ("New", "O"),
    ],
)
def test_names_are_looked_up_in_whatever_context(text, tags):
    assert learn_names(NAMES)(text.split()) == tuple(tags.split())


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("he lives in Bergen .", "O O O B-LOC O"),
        ("she met Eve Moe here", "O O B-PER I-PER O"),
        ("she met Eve here", "O O B-PER O"),
        ("she met Oslo here", "O O B-PER O"),  # a name of another type is no hint
        ("in Bergen", "O B-LOC"),  # the left neighbour alone
    ],
)
def test_contexts_tag_names_that_train_lacks(text, tags):
    assert learn_contexts(CONTEXTS)(text.split()) == tuple(tags.split())


def test_contexts_give_the_same_tags_whatever_the_names_are():
    tag_words = learn_contexts(CONTEXTS)
    assert tag_words("he met Ann Lee here".split()) == tag_words("he met Oslo ŻÓŁW here".split())


def test_contexts_keep_a_word_that_is_capitalised_and_no_name():
    train = sentences("Mr Ann/B-PER left", "Mr Bob/B-PER left", "Monday Mr Cy/B-PER left", "Monday we left")
    assert learn_contexts(train)("Monday Mr Di left".split()) == ("O", "O", "B-PER", "O")


def test_contexts_tell_an_unknown_word_in_lower_case_from_a_name():
    train = sentences("we saw Ann/B-PER", "we saw Bob/B-PER", "we saw rain", "we saw snow")
    assert learn_contexts(train)("we saw Cy".split()) == ("O", "O", "B-PER")
    assert learn_contexts(train)("we saw hail".split()) == ("O", "O", "O")


def test_contexts_back_off_to_both_sides_and_average_them():
    """`(a, _)` is LOC three times and PER once, `(_, b)` is PER twice; `(a, _, b)` is new.

    With 0.1 added to each of the five counts, LOC has 3.1/4.5 and 0.1/2.5, PER 1.1/4.5 and 2.1/2.5: PER's product is
    larger. Of `(a, _)` alone LOC is.
    """
    train = sentences("a N1/B-LOC c", "a N2/B-LOC c", "a N3/B-LOC c", "a N4/B-PER c", "d N5/B-PER b", "d N6/B-PER b")
    tag_words = learn_contexts(train)
    assert tag_words(["a", "X", "b"]) == ("O", "B-PER", "O")
    assert tag_words(["a", "X"]) == ("O", "B-LOC")


def test_a_context_tagger_never_gives_an_illegal_path():
    """What stands between the sentence's edges was only ever the end of a name."""
    tag_words = learn_contexts(sentences("a N1/B-X N2/I-X", "a N3/B-X N4/I-X"))
    assert tag_words(["a", "N", "N"]) == ("O", "B-X", "I-X")
    assert tag_words(["N"]) == ("O",)


@pytest.mark.parametrize("learn", [learn_names, learn_contexts])
def test_without_entities_in_train_nothing_is_one(learn):
    assert learn(sentences("a b", "b a"))(["a", "N", "b"]) == ("O", "O", "O")


def write(path, *texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    found = sentences(*texts)
    lines = ["".join(f"{w}\t{t}\n" for w, t in zip(one.words, one.tags, strict=True)) for one in found]
    path.write_text("\n".join(lines), encoding="utf-8")


def test_both_baselines_are_scored_where_there_is_train_and_the_split(tmp_path):
    """Test has Oslo, which train has, where persons stand, and Bergen, which it lacks, where places do."""
    train = ["she lives in Oslo/B-LOC .", "he lives in Lima/B-LOC .", "he met Cy/B-PER here", "she met Di/B-PER here"]
    write(tmp_path / "en" / "train.tsv", *train)
    write(tmp_path / "en" / "test.tsv", "she met Oslo/B-LOC here", "she lives in Bergen/B-LOC .")
    write(tmp_path / "fr" / "train.tsv", *train)
    write(tmp_path / "nl" / "test.tsv", "Oslo/B-LOC sleeps")
    scores = baseline_scores(open_corpus(CorpusSection(path=str(tmp_path))), "test", 10, 0)
    assert {name: list(languages) for name, languages in scores.items()} == {"gazetteer": ["en"], "contexts": ["en"]}
    gazetteer, contexts = scores["gazetteer"]["en"], scores["contexts"]["en"]
    assert (gazetteer.precision, gazetteer.recall, gazetteer.support) == (1.0, 0.5, 2)
    assert (contexts.precision, contexts.recall, contexts.types["PER"].precision) == (0.5, 0.5, 0.0)


def test_names_of_train_are_looked_up_in_the_words_of_test(tmp_path):
    """Models learn from `Bern`, `'` and `de`, but test has `Bern'de`."""
    for split in ("train", "test"):
        write(tmp_path / "tr" / f"{split}.tsv", "Bern'de/B-LOC")
    corpus = open_corpus(CorpusSection(path=str(tmp_path), split_words=True))
    assert len(corpus.sentences("tr", "train")[0].words) == 3
    assert baseline_scores(corpus, "test", 0, 0)["gazetteer"]["tr"].f1 == 1.0
