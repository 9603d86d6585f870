"""The frozen demo corpus is what `data/README.md` says it is."""

from __future__ import annotations

import hashlib
import importlib
import re
import unicodedata
from collections import Counter
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest

from xtremedistil_ner.corpus.folder import SPLITS, find_split, find_text, languages_of, read_split, read_text
from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.corpus.places import demo_path
from xtremedistil_ner.corpus.transfer import sentence_key
from xtremedistil_ner.corpus.words import split_words
from xtremedistil_ner.evaluation.baselines import baseline_scores
from xtremedistil_ner.evaluation.scoring import macro
from xtremedistil_ner.labels import spans_of
from xtremedistil_ner.languages import WIKIANN_LANGUAGES
from xtremedistil_ner.recipe.data_sections import CorpusSection

DEMO = demo_path()
LANGUAGES = languages_of(DEMO)
DATA = Path(__file__).parents[2] / "data"
SCRIPTS = {
    **dict.fromkeys(("ar", "fa"), "ARABIC"),
    **dict.fromkeys(("bg", "mk", "ru", "uk"), "CYRILLIC"),
    "bn": "BENGALI",
    "el": "GREEK",
    "he": "HEBREW",
    "hi": "DEVANAGARI",
    "ta": "TAMIL",
}


@cache
def labelled(language, split):
    return read_split(find_split(DEMO, language, split), language=language)


@cache
def raw_text(language):
    return tuple(read_text(find_text(DEMO, language), language=language))


def entities(language, split, *types):
    """Words of the entities of a split; of all types if none is named."""
    return [
        sentence.words[span.start : span.stop]
        for sentence in labelled(language, split).sentences
        for span in spans_of(sentence.tags)
        if not types or span.type in types
    ]


@cache
def surfaces(split):
    """Entities of a split over all languages, as they are written."""
    return {" ".join(words).casefold() for language in LANGUAGES for words in entities(language, split)}


@cache
def carriers(split):
    """What is left of the sentences of a split, over all languages, of the words that the carrier files have."""
    found = set()
    for language in LANGUAGES:
        written = (DATA / "carriers" / f"{language}.txt").read_text(encoding="utf-8")
        known = {word for word, _, _ in split_words(re.sub(r"\{.*?\}|[()|]", " ", written)) if word[0].isalpha()}
        for sentence in labelled(language, split).sentences:
            tagged = zip(sentence.words, sentence.tags, strict=True)
            found.add(" ".join(word for word, tag in tagged if tag == "O" and word in known))
    return found - {""}


def test_the_files_are_those_of_the_checksums():
    lines = (DEMO / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    actual = {path.relative_to(DEMO).as_posix(): hashlib.sha256(path.read_bytes()) for path in DEMO.rglob("*.bz2")}
    assert listed == {name: digest.hexdigest() for name, digest in actual.items()}


def test_all_41_languages_have_all_splits_raw_text_and_their_sources():
    assert set(LANGUAGES) == set(WIKIANN_LANGUAGES)
    for language in LANGUAGES:
        assert all(find_split(DEMO, language, split) for split in SPLITS)
        assert find_text(DEMO, language)
        assert (DATA / "names" / f"{language}.toml").is_file()
        assert len((DATA / "carriers" / f"{language}.txt").read_text(encoding="utf-8").splitlines()) >= 20


def test_the_whole_corpus_takes_less_than_a_megabyte_and_a_half():
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) < 1_500_000


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_as_many_sentences_as_the_readme_says(language):
    document = (DATA / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^ +demo/<lang>(?:/|\.)(\w+)\S* +([\d,]+)", document, flags=re.MULTILINE)
    actual = {split: len(labelled(language, split).sentences) for split in SPLITS}
    assert {name: int(count.replace(",", "")) for name, count in listed} == {**actual, "txt": len(raw_text(language))}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", SPLITS)
def test_tags_are_legal_and_all_types_are_frequent(language, split):
    file = labelled(language, split)
    assert (file.tag_format, file.repaired_tags, file.skipped_lines) == ("IOB2", 0, 0)
    types = Counter(span.type for sentence in file.sentences for span in spans_of(sentence.tags))
    assert set(types) == {"PER", "ORG", "LOC"}
    assert min(types.values()) > 0.1 * types.total()
    bare = sum(set(sentence.tags) == {"O"} for sentence in file.sentences)
    assert 0.05 < bare / len(file.sentences) < 0.5  # sentences without an entity


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", SPLITS)
def test_persons_and_places_are_written_in_the_script_of_the_language(language, split):
    letters = {
        unicodedata.name(character).split()[0]
        for words in entities(language, split, "PER", "LOC")
        for character in "".join(words)
        if unicodedata.category(character) in ("Lu", "Ll", "Lo")
    }
    assert letters == {SCRIPTS.get(language, "LATIN")}


@pytest.mark.parametrize(("one", "other"), list(combinations(SPLITS, 2)))
def test_no_entity_is_in_two_splits_in_whatever_language(one, other):
    assert surfaces(one) & surfaces(other) == set()


@pytest.mark.parametrize(("one", "other"), list(combinations(SPLITS, 2)))
def test_no_carrier_is_in_two_splits_in_whatever_language(one, other):
    assert carriers(one) & carriers(other) == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_sentence_is_repeated_and_raw_text_is_disjoint_from_the_labelled_splits(language):
    keys = [sentence_key(sentence.words) for split in SPLITS for sentence in labelled(language, split).sentences]
    keys += [sentence_key(sentence.words) for sentence in raw_text(language)]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_are_split_as_the_tagger_splits_text(language):
    for sentence in labelled(language, "test").sentences:
        assert tuple(word for word, _, _ in split_words(" ".join(sentence.words))) == sentence.words


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_of_entities_also_stand_outside_entities(language):
    """Otherwise a list of names would tag the corpus."""
    inside, outside = set(), set()
    for sentence in labelled(language, "train").sentences:
        for word, tag in zip(sentence.words, sentence.tags, strict=True):
            (outside if tag == "O" else inside).add(word)
    both = {word for word in inside & outside if not word.islower() and len(word) > 2}
    assert len(both) > 20


def test_neither_names_nor_contexts_alone_tag_the_corpus():
    corpus = open_corpus(CorpusSection(path="demo", languages=("ar", "de", "fi", "hi", "pt", "tr")))
    scores = baseline_scores(corpus, "test", 0, 0)
    assert macro(scores["gazetteer"]) == (0.0, 0.0)
    assert 0.1 < macro(scores["contexts"])[0] < 0.5


@pytest.fixture
def build(monkeypatch):
    """The script that builds the corpus, as a module."""
    pytest.importorskip("faker")
    pytest.importorskip("babel")
    monkeypatch.syspath_prepend(DATA)
    return importlib.import_module("build_demo")


def test_coined_names_are_new_and_as_many_as_asked_for(build):
    real = ["Landberg", "Sandbach", "Wandbeck", "Randberg"]
    coined = importlib.import_module("demo_names").coin(real, 5)
    assert len(set(coined)) == 5
    assert not set(coined) & set(real)
    assert all(5 <= len(name) <= 13 and name[0].isupper() for name in coined)


def test_faker_is_never_asked_for_a_locale_it_lacks(build):
    names = importlib.import_module("demo_names")
    with pytest.raises(AssertionError, match="no address for et_EE"):
        names.collect_names("et", names.NameSource(["Dr."], ["{} AS"], persons="et_EE", cities="et_EE"))


def test_names_in_another_script_stop_the_build(build):
    names = importlib.import_module("demo_names")
    with pytest.raises(AssertionError, match="ru: 'Tver'"):
        names.collect_names("ru", names.NameSource(["Д-р"], ["ООО «{}»"], persons="ru_RU", city_list=["Tver"]))


def test_months_do_not_depend_on_the_languages_asked_before(build):
    """With babel 2.18.0 as it comes, Hindi has the months of Hebrew after Hebrew."""
    from babel.dates import get_month_names

    cldr = importlib.import_module("demo_names").cldr
    months = [dict(get_month_names("wide", "stand-alone", locale=cldr(code))) for code in ("hi", "he", "hi")]
    assert months[0] == months[2] != months[1]


def test_every_wording_of_a_carrier_is_listed(build):
    wordings = build.wordings("(a|b) {PER} (c|d e) ({LOC}).")
    assert sorted(wordings) == [f"{x} {{PER}} {y} ({{LOC}})." for x in "ab" for y in ("c", "d e")]


def built_files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.bz2")}


def test_a_language_built_again_alone_is_the_same_byte_for_byte(build, tmp_path):
    build.main(tmp_path, ("hi", "no"))
    files = built_files(tmp_path)
    assert len(files) == 2 * 4
    assert files == {name: (DEMO / name).read_bytes() for name in files}


@pytest.mark.slow
def test_building_everything_again_gives_the_same_bytes(build, tmp_path):
    build.main(tmp_path)
    assert built_files(tmp_path) == built_files(DEMO)
    assert (tmp_path / "SHA256SUMS").read_bytes() == (DEMO / "SHA256SUMS").read_bytes()
