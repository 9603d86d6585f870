"""What a place with text can do, as values made of functions: `folder.py`, `hub_reader.py` and `transfer.py` make them.

So the labelled corpus and the transfer set do not know whether they read a folder, a URL or the Hub.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.corpus.split import LabelledSplit


@dataclass(frozen=True, slots=True)
class CorpusReader:
    """Labelled text by language and split (`train`, `dev`, `test`).

    `name` is for messages, `source` for the report. `read` and `file_hash` give None where the language lacks the
    split; `file_hash` is the SHA-256 of the bytes that decide its sentences. `synthetic`: it is the built-in demo.
    """

    name: str
    source: Mapping[str, str]
    languages: tuple[str, ...]
    has: Callable[[str, str], bool]
    read: Callable[[str, str], LabelledSplit | None]
    file_hash: Callable[[str, str], str | None]
    synthetic: bool = False


@dataclass(frozen=True, slots=True)
class TextReader:
    """Unlabelled text by language: streamed, nothing for a language that it lacks, whose `file_hash` is None."""

    languages: Callable[[], tuple[str, ...]]
    read: Callable[[str], Iterator[Sentence]]
    file_hash: Callable[[str], str | None]
