"""The one place where raw text becomes words, for labelling and for tagging alike.

BERT's pre-tokenizer: white space separates, and every punctuation character is a word of its own. It is the tokenizers
library's, so that words and pieces agree on every character; about 25 µs a sentence.
"""

from __future__ import annotations

import re

from tokenizers.pre_tokenizers import BertPreTokenizer

_SPLITTER = BertPreTokenizer()
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def split_words(text: str) -> list[tuple[str, int, int]]:
    """Words of `text` with their place: (word, start, end).

    A lone surrogate cannot be written as UTF-8; it becomes U+FFFD in the word and keeps its place.

    Units: start and end count code points of `text`.
    """
    if not text.isascii():
        text = _LONE_SURROGATE.sub("\ufffd", text)
    return [(word, start, end) for word, (start, end) in _SPLITTER.pre_tokenize_str(text)]
