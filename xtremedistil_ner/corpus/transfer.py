"""The transfer set: unlabelled sentences that the teacher labels, free of duplicates and of held-out text.

Sentences are compared by normalised text (NFKC, case folded, without white space), as 8-byte digests: two different
sentences of ten million share one with probability 3e-6, and memory is some 90 bytes a sentence (estimated).
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from xtremedistil_ner.corpus.demo import demo_path
from xtremedistil_ner.corpus.folder import find_split, find_text, languages_of, read_split, read_text, text_languages
from xtremedistil_ner.corpus.labelled import LabelledCorpus, file_hash
from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.schema import TransferSection

HELD_OUT_SPLITS = ("dev", "test")


@dataclass(slots=True)
class TransferCounts:
    """What became of the sentences read; `iter_transfer` counts while it goes."""

    read: int = 0
    duplicates: int = 0
    held_out: int = 0
    kept: int = 0


def sentence_key(words: Iterable[str]) -> bytes:
    """Digest of a sentence's normalised text: equal for sentences that differ in case, spacing or splitting only."""
    text = "".join("".join(words).split())
    if not text.isascii():
        text = "".join(unicodedata.normalize("NFKC", text).split())
    return hashlib.blake2b(text.casefold().encode("utf-8", "surrogatepass"), digest_size=8).digest()


def held_out_keys(corpus: LabelledCorpus) -> set[bytes]:
    """Keys of every dev and test sentence of the corpus folder, its languages outside the recipe included.

    With them the transfer set of a language does not change when a recipe takes in one language more.
    """
    keys: set[bytes] = set()
    for language, path in _held_out_files(corpus):
        try:
            sentences = read_split(path, language=language).sentences
        except CorpusError:
            if language in corpus.languages:
                raise
            continue  # what cannot be read cannot be scored either
        keys.update(sentence_key(sentence.words) for sentence in sentences)
    return keys


def transfer_languages(corpus: LabelledCorpus, section: TransferSection) -> tuple[str, ...]:
    """Languages of the transfer set, sorted: those that the recipe names, or all of the corpus and of the text."""
    if section.languages:
        return tuple(sorted(set(section.languages)))
    if not corpus.has_every_language or section.path is None:
        return tuple(sorted(corpus.languages))
    return tuple(sorted({*corpus.languages, *text_languages(_text_folder(section.path))}))


def iter_transfer(
    corpus: LabelledCorpus,
    section: TransferSection,
    language: str,
    *,
    held_out: Set[bytes],
    counts: TransferCounts | None = None,
) -> Iterator[Sentence]:
    """Sentences of the transfer set without tags: first training text, then raw text, each in file order.

    `counts`, if given, is filled on the way. The text file is streamed.
    Raises: CorpusError for a missing folder and for broken files.
    """
    counts = TransferCounts() if counts is None else counts
    seen: set[bytes] = set()
    for sentence in _all_text(corpus, section, language):
        counts.read += 1
        key = sentence_key(sentence.words)
        if key in seen:
            counts.duplicates += 1
        elif key in held_out:
            counts.held_out += 1
        else:
            seen.add(key)
            counts.kept += 1
            yield sentence


def transfer_hash(corpus: LabelledCorpus, section: TransferSection, language: str) -> str:
    """SHA-256 of what decides the transfer set of a language: its text, its limits, and all held-out files."""
    text = _text_file(section, language)
    parts = [
        corpus.training_text_hash(language) if section.training_text else "none",
        f"{file_hash(text)} first {section.sentences}" if text else "none",
        *sorted(file_hash(path) for _, path in _held_out_files(corpus)),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _all_text(corpus: LabelledCorpus, section: TransferSection, language: str) -> Iterator[Sentence]:
    if section.training_text:
        yield from corpus.training_text(language)
    text = _text_file(section, language)
    if text:
        yield from read_text(text, language=language, limit=section.sentences)


def _text_file(section: TransferSection, language: str) -> Path | None:
    return None if section.path is None else find_text(_text_folder(section.path), language)


def _text_folder(path: str) -> Path:
    folder = demo_path() if path == "demo" else Path(path)
    if not folder.is_dir():
        raise CorpusError(f"{folder}: no such folder. Give transfer.path a folder with files such as en.txt.")
    return folder


def _held_out_files(corpus: LabelledCorpus) -> Iterator[tuple[str, Path]]:
    for language in languages_of(corpus.path):
        for split in HELD_OUT_SPLITS:
            path = find_split(corpus.path, language, split)
            if path:
                yield language, path
