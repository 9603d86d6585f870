"""Words of a labelled sentence as running text, with the place of each word: what a service would have been given.

Labelled corpora keep words and not the text between them. Punctuation is joined to its neighbours as in most European
languages, quotation marks by turns; French spaces and the like are not put back.
"""

from __future__ import annotations

from collections.abc import Sequence

_TO_THE_LEFT = frozenset(". , ; : ! ? … % ° ) ] } » ” ’ 、 。 ، ؛ ؟ । · -- .. ... ''".split())
"""Words with no space before them."""
_TO_THE_RIGHT = frozenset("( [ { « „ “ ‚ ‘ ¿ ¡ # $ € £ ``".split())
"""Words with no space after them."""
_APOSTROPHES = ("'", "’")
_STRAIGHT = '"'


def join_words(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """The text of a sentence and where its words are in it: (start, end).

    Units: start and end count code points of the text.

    Example: `l' été ( 1999 ) .` becomes `l'été (1999).`
    """
    text, places = "", []
    open_quote, is_joined = False, True
    for word in words:
        opens = word == _STRAIGHT and not open_quote
        joins_left = word in _TO_THE_LEFT or (word == _STRAIGHT and open_quote) or _is_ending(word)
        if not is_joined and not joins_left:
            text += " "
        places.append((len(text), len(text) + len(word)))
        text += word
        if word == _STRAIGHT:
            open_quote = not open_quote
        is_joined = word in _TO_THE_RIGHT or opens or _is_elision(word)
    return text, places


def _is_ending(word: str) -> bool:
    """An English ending such as `'s` or `n't`."""
    return len(word) > 1 and (word.startswith(_APOSTROPHES) or word.casefold() in ("n't", "n’t"))


def _is_elision(word: str) -> bool:
    """A French or Italian article before a vowel, such as `l'`."""
    return len(word) > 1 and word.endswith(_APOSTROPHES) and word[:-1].isalpha()
