"""WordPiece vocabularies: read, learnt from text, pruned to the pieces that occur."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import BertProcessing

from xtremedistil_ner.errors import ModelError
from xtremedistil_ner.pieces.encoder import PieceEncoder

SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TRAINED = "trained"
"""The word in a recipe that has a vocabulary learnt from text."""
_ALPHABET = 1000
"""Characters that a learnt vocabulary has, the most frequent ones: the default of the trainer of `tokenizers`."""


def wordpiece_tokenizer(vocabulary: Sequence[str], *, lowercase: bool, special_rows: bool) -> Tokenizer:
    """A BERT tokenizer over a vocabulary; `special_rows` puts [CLS] and [SEP] around every sentence."""
    ids = {piece: index for index, piece in enumerate(vocabulary)}
    needed = SPECIAL_PIECES if special_rows else ("[PAD]", "[UNK]")
    missing = [piece for piece in needed if piece not in ids]
    if missing:
        raise ModelError(f"The vocabulary has no {', '.join(missing)}. Give a BERT vocabulary, one piece a line.")
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    if special_rows:
        tokenizer.post_processor = BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    tokenizer.add_special_tokens([piece for piece in SPECIAL_PIECES if piece in ids])
    return tokenizer


def read_vocabulary(path: Path) -> tuple[str, ...]:
    """The pieces of a BERT `vocab.txt`, one a line, in order.

    Raises: ModelError.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not a readable vocabulary ({error}). Give a BERT vocab.txt.") from error
    pieces = tuple(line.removesuffix("\r") for line in lines)
    pieces = pieces[:-1] if pieces and not pieces[-1] else pieces
    if len(set(pieces)) < len(pieces):  # a piece is its line's number
        piece, count = Counter(pieces).most_common(1)[0]
        raise ModelError(f"{path}: it has {piece!r} {count} times. Give a BERT vocab.txt, each piece once.")
    return pieces


def prune_vocabulary(
    vocabulary: Sequence[str], texts: Iterable[Sequence[Sequence[str]]], *, lowercase: bool, min_count: int
) -> tuple[str, ...]:
    """The pieces that occur at least `min_count` times in some text, special pieces first, in the vocabulary's order.

    With 1, greedy longest-match segmentation of that same text does not change, because every piece it took is kept.
    With more, shorter pieces take the place of rare ones. Every character that occurs stays, so that none becomes
    unknown. `texts` yields chunks of sentences, each a list of words.
    """
    tokenizer = wordpiece_tokenizer(vocabulary, lowercase=lowercase, special_rows=False)
    counts = np.zeros(len(vocabulary), dtype=np.int64)
    encoder = PieceEncoder(tokenizer, max_pieces=2**31, pad_id=0)
    for sentences in texts:
        counts += np.bincount(encoder.encode(sentences).pieces, minlength=len(vocabulary))
    frequent = {piece for piece, count in zip(vocabulary, counts, strict=True) if count >= min_count}
    characters = {character for piece, count in zip(vocabulary, counts, strict=True) if count for character in piece}
    if min_count > 1:
        frequent |= characters | {f"##{character}" for character in characters}
    return (*SPECIAL_PIECES, *(piece for piece in vocabulary if piece in frequent and piece not in SPECIAL_PIECES))


def train_vocabulary(
    texts: Callable[[], Iterable[Sequence[Sequence[str]]]], *, size: int, lowercase: bool
) -> list[str]:
    """A WordPiece vocabulary learnt from text, special pieces first, the same in every process.

    Left alone, the trainer numbers the pieces of one character in the order of a hash table with a random seed, and
    takes the lower numbers where two merges tie. Here they are counted and numbered beforehand, so `texts` is asked
    for the text twice.

    Shapes: result (size,) or fewer.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    alphabet, continuations = _characters(texts(), tokenizer)
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=[*SPECIAL_PIECES, *continuations],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator((" ".join(words) for chunk in texts() for words in chunk), trainer)
    return [piece for piece, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]


def _characters(texts: Iterable[Sequence[Sequence[str]]], tokenizer: Tokenizer) -> tuple[list[str], list[str]]:
    """The most frequent characters of a text, and the pieces of one character that continue a word in it."""
    counts: Counter[str] = Counter()
    inner: set[str] = set()
    for chunk in texts:
        for words in chunk:
            text = tokenizer.normalizer.normalize_str(" ".join(words))
            parts = [part for part, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
            counts.update("".join(parts))
            inner.update("".join(part[1:] for part in parts))
    alphabet = sorted(sorted(counts), key=lambda character: -counts[character])[:_ALPHABET]
    return alphabet, sorted(f"##{character}" for character in inner.intersection(alphabet))
