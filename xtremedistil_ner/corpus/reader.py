"""Readers of labelled and of raw text, as values made of functions: `folder.py` and `hub_reader.py` make them.

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

    `name` is for messages, `source` for the report. `read` and `file_hash` return None if the language lacks the
    split; `file_hash` is the SHA-256 of what decides its sentences. `synthetic`: it is the built-in demo.
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
    """Unlabelled text by language, streamed. For a language that it lacks, there is no text and `file_hash` is None.

    `check_first` reads the first sentence of the file that has a language, and raises what `read` would raise there. It
    fetches nothing, so text of the Hub is not looked at.
    """

    languages: Callable[[], tuple[str, ...]]
    read: Callable[[str], Iterator[Sentence]]
    file_hash: Callable[[str], str | None]
    check_first: Callable[[str], object]
