from __future__ import annotations

from xtremedistil_ner.languages import WIKIANN_LANGUAGES, language_name


def test_the_41_languages_are_distinct_sorted_and_named() -> None:
    assert len(WIKIANN_LANGUAGES) == len(set(WIKIANN_LANGUAGES)) == 41
    assert list(WIKIANN_LANGUAGES) == sorted(WIKIANN_LANGUAGES)
    assert all(language_name(code) != code for code in WIKIANN_LANGUAGES)


def test_no_is_norwegian_and_an_unknown_code_names_itself() -> None:
    assert language_name("no") == "Norwegian"
    assert language_name("tlh") == "tlh"
