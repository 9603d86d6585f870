"""Noise changes letters and nothing else, the same ones each time."""

from __future__ import annotations

import pytest

from xtremedistil_ner.evaluation.noise import (
    MISTYPED,
    chosen_sentences,
    in_lower_case,
    noise_slices,
    with_typing_errors,
)

SENTENCES = [["Ada", "met", "a", "7-8", "عدن", "aa", f"Byron{number}"] for number in range(2000)]


def test_sentences_are_chosen_at_equal_distances():
    assert chosen_sentences(3, 1000) == [0, 1, 2]
    assert chosen_sentences(10, 4) == [0, 2, 5, 7]
    assert chosen_sentences(0, 4) == []


def test_lower_case_keeps_words():
    assert in_lower_case([["ADA", "İ", "straße"], []]) == [["ada", "i̇", "straße"], []]


def test_some_words_have_two_neighbouring_letters_swapped_the_same_ones_each_time():
    noisy = with_typing_errors(SENTENCES)
    assert noisy == with_typing_errors(SENTENCES)
    changed = [
        (before, after)
        for words, noisy_words in zip(SENTENCES, noisy, strict=True)
        for before, after in zip(words, noisy_words, strict=True)
        if before != after
    ]
    for before, after in changed:
        places = [place for place, letter in enumerate(before) if letter != after[place]]
        first, second = places
        assert second == first + 1
        assert (before[first], before[second]) == (after[second], after[first])
        assert before[first].isalpha()
        assert before[second].isalpha()
    swappable = 4 * len(SENTENCES)  # "a", "7-8" and "aa" have no two different letters side by side
    assert len(changed) / swappable == pytest.approx(MISTYPED, abs=0.01)


def test_slices_cover_the_languages_of_both_models():
    def entry(**languages):
        rows = ("as written", "lower case", "typing errors")
        return {"noise": {code: dict(zip(rows, counts, strict=True)) for code, counts in languages.items()}}

    teacher = entry(en=[[4, 4, 4], [1, 2, 4], [2, 4, 4]], de=[[1, 1, 1]] * 3)
    student = entry(en=[[2, 4, 4], [0, 0, 4], [1, 4, 4]])
    found = {
        one["slice"]: (one["group"], one["teacher"]["f1"], one["student"]) for one in noise_slices(teacher, student)
    }
    assert found == {
        "as written": ("noise", 1.0, {"correct": 2, "predicted": 4, "gold": 4, "f1": 0.5}),
        "lower case": ("noise", 1 / 3, {"correct": 0, "predicted": 0, "gold": 4, "f1": 0.0}),
        "typing errors": ("noise", 0.5, {"correct": 1, "predicted": 4, "gold": 4, "f1": 0.25}),
    }
    assert noise_slices(teacher, {}) == []
