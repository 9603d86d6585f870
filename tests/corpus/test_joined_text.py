"""Words joined to running text: known sentences, and what holds for all of them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xtremedistil_ner.corpus.joined_text import join_words


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("He left ( in 1999 ) .", "He left (in 1999)."),
        ('She said " yes " , twice .', 'She said "yes", twice.'),
        ('" A " and " B "', '"A" and "B"'),
        ("l' été d’ Anna", "l'été d’Anna"),
        ("Anna 's cat does n't care", "Anna's cat doesn't care"),
        ("«  Да » — сказал он", "«Да» — сказал он"),
        ("¿ Quién ?", "¿Quién?"),
        ("ذهب ، ثم عاد .", "ذهب، ثم عاد."),
        ("Paris – Roubaix 5,4 %", "Paris – Roubaix 5,4%"),
        ("' quoted '", "' quoted '"),
    ],
)
def test_words_stand_as_in_running_text(words, text):
    assert join_words(words.split())[0] == text


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6), max_size=8))
def test_every_word_is_at_its_place_and_nothing_but_spaces_is_between_them(words):
    text, places = join_words(words)
    assert [text[start:end] for start, end in places] == words
    between = [text[end:start] for (_, end), (start, _) in pairwise(places)]
    assert set(between) <= {"", " "}
    assert (places[0][0], places[-1][1]) == (0, len(text)) if words else text == ""
