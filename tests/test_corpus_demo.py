"""The frozen demo corpus is what `data/README.md` says it is."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from itertools import combinations
from pathlib import Path

import pytest

from xtremedistil_ner.corpus.demo import demo_path
from xtremedistil_ner.corpus.folder import SPLITS, find_split, find_text, languages_of, read_split, read_text
from xtremedistil_ner.corpus.transfer import sentence_key
from xtremedistil_ner.corpus.words import split_words
from xtremedistil_ner.labels import spans_of

DEMO = demo_path()
LANGUAGES = languages_of(DEMO)
DATA = Path(__file__).parents[1] / "data"


def labelled(language, split):
    return read_split(find_split(DEMO, language, split), language=language)


def surfaces(split):
    """Entities of a split over all languages, as they are written."""
    return {
        " ".join(sentence.words[span.start : span.stop]).casefold()
        for language in LANGUAGES
        for sentence in labelled(language, split).sentences
        for span in spans_of(sentence.tags)
    }


def carriers(language, split):
    """Sentences of a split with their entities and what varies beside them cut out."""
    found = set()
    for sentence in labelled(language, split).sentences:
        words = [word for word, tag in zip(sentence.words, sentence.tags, strict=True) if tag == "O"]
        found.add(" ".join(word for word in words if word.islower()))
    return found


def test_the_files_are_those_of_the_checksums():
    lines = (DEMO / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    actual = {path.relative_to(DEMO).as_posix(): hashlib.sha256(path.read_bytes()) for path in DEMO.rglob("*.bz2")}
    assert listed == {name: digest.hexdigest() for name, digest in actual.items()}


def test_every_language_has_all_splits_raw_text_and_carriers():
    assert len(LANGUAGES) >= 3
    for language in LANGUAGES:
        assert all(find_split(DEMO, language, split) for split in SPLITS)
        assert find_text(DEMO, language)
        assert (DATA / "carriers" / f"{language}.txt").is_file()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", SPLITS)
def test_tags_are_legal_and_all_types_occur(language, split):
    file = labelled(language, split)
    assert (file.tag_format, file.repaired_tags, file.skipped_lines) == ("IOB2", 0, 0)
    assert {tag[2:] for tag in file.tag_lines} == {"", "PER", "ORG", "LOC"}
    bare = sum(set(sentence.tags) == {"O"} for sentence in file.sentences)
    assert 0.1 < bare / len(file.sentences) < 0.5  # sentences without an entity


@pytest.mark.parametrize(("one", "other"), list(combinations(SPLITS, 2)))
def test_no_entity_is_in_two_splits_in_whatever_language(one, other):
    assert surfaces(one) & surfaces(other) == set()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("one", "other"), list(combinations(SPLITS, 2)))
def test_no_carrier_is_in_two_splits(language, one, other):
    assert carriers(language, one) & carriers(language, other) == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_sentence_is_repeated_and_raw_text_is_disjoint_from_the_labelled_splits(language):
    keys = [sentence_key(sentence.words) for split in SPLITS for sentence in labelled(language, split).sentences]
    keys += [sentence_key(sentence.words) for sentence in read_text(find_text(DEMO, language), language=language)]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_are_split_as_the_tagger_splits_text(language):
    for sentence in labelled(language, "train").sentences:
        assert tuple(word for word, _, _ in split_words(" ".join(sentence.words))) == sentence.words


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_of_entities_also_stand_outside_entities(language):
    """Otherwise a list of names would tag the corpus."""
    inside, outside = set(), set()
    for sentence in labelled(language, "train").sentences:
        for word, tag in zip(sentence.words, sentence.tags, strict=True):
            (outside if tag == "O" else inside).add(word)
    both = {word for word in inside & outside if word[:1].isupper() and len(word) > 2}
    assert len(both) > 20


def script(name, monkeypatch):
    """A script of `data/` as a module."""
    specification = importlib.util.spec_from_file_location(name, DATA / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, name, module)  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_is_small_enough_for_41(language):
    files = [*(DEMO / language).iterdir(), find_text(DEMO, language)]
    assert sum(path.stat().st_size for path in files) <= 36_000


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("learn", "limit"), [("learn_names", 0.0), ("learn_capitals", 0.45)])
def test_remembered_names_or_capitals_do_not_tag_the_test_split(language, learn, limit, monkeypatch):
    tag_words = getattr(script("baselines", monkeypatch), learn)(labelled(language, "train").sentences)
    found = right = gold = 0
    for sentence in labelled(language, "test").sentences:
        predicted, wanted = set(spans_of(tag_words(sentence.words))), set(spans_of(sentence.tags))
        found, right, gold = found + len(predicted), right + len(predicted & wanted), gold + len(wanted)
    assert 2 * right / (found + gold) <= limit


def test_coined_names_are_new_and_as_many_as_asked_for(monkeypatch):
    pytest.importorskip("faker")
    pytest.importorskip("babel")
    real = ["Landberg", "Sandbach", "Wandbeck", "Randberg"]
    coined = script("build_demo", monkeypatch).coin(real, 5)
    assert len(set(coined)) == 5
    assert not set(coined) & set(real)
    assert all(5 <= len(name) <= 13 and name[0].isupper() for name in coined)


def test_every_wording_of_a_carrier_is_listed(monkeypatch):
    pytest.importorskip("faker")
    pytest.importorskip("babel")
    wordings = script("build_demo", monkeypatch).wordings("(a|b) {PER} (c|d e) ({LOC}).")
    assert sorted(wordings) == [f"{x} {{PER}} {y} ({{LOC}})." for x in "ab" for y in ("c", "d e")]


def test_building_again_gives_the_same_bytes(tmp_path, monkeypatch):
    pytest.importorskip("faker")
    pytest.importorskip("babel")
    script("build_demo", monkeypatch).main(tmp_path)
    assert (tmp_path / "SHA256SUMS").read_bytes() == (DEMO / "SHA256SUMS").read_bytes()
