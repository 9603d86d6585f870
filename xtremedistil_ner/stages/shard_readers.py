"""Shards of the transfer set, read and tokenised: here, or in processes of their own beside a GPU.

One core reads, tokenises and hashes some 300,000 pieces a second; an H100 with mBERT labels 2.3 million (computed;
`docs/log.md`). Threads would not help enough: more than half of that work holds Python's lock, which the thread that
feeds the device needs as well. So each reader is a process that has some of the languages, or a share of the shards of
one. It holds no model, loads no torch, and waits when it is two shards ahead.

Readers are started as commands, because a worker of `training/launch.py` may have no children by `multiprocessing`.
A reader ends with its pipe: when its parent ends, however that happens, its next shard has nowhere to go.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.corpus.transfer import TransferCounts, iter_transfer
from xtremedistil_ner.errors import ResourceError, XnerError
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.pieces.encoder import EncodedCorpus, PieceEncoder
from xtremedistil_ner.recipe.schema import Recipe
from xtremedistil_ner.run_folder.artefacts import published_fingerprint
from xtremedistil_ner.run_folder.soft_labels import shard_name, shard_place
from xtremedistil_ner.run_folder.whole_files import make_fingerprint

_COMMAND: Final = "from xtremedistil_ner.stages.shard_readers import answer; answer()"


@dataclass(frozen=True, slots=True)
class ReadyShard:
    """A shard to label; `encoded` has its rows for each teacher, and nothing if it is published already."""

    name: str
    language: str
    sentences: tuple[tuple[str, ...], ...]
    fingerprint: str
    encoded: tuple[EncodedCorpus, ...]


@dataclass(frozen=True, slots=True)
class WholeLanguage:
    """What a language's text came to, all of its shards included."""

    language: str
    counts: TransferCounts
    n_shards: int


Read: TypeAlias = ReadyShard | WholeLanguage


@dataclass(frozen=True, slots=True)
class ReadingJob:
    """What a reader needs; `labelled_with` is the part of a shard's fingerprint that is the same for all of them."""

    recipe: Recipe
    scheme: LabelScheme
    held_out: frozenset[bytes]
    encoders: tuple[PieceEncoder, ...]
    labelled_with: tuple[object, ...]
    folder: Path


@dataclass(frozen=True, slots=True)
class Share:
    """Every `count`-th shard of a language, from number `first` on."""

    language: str
    first: int
    count: int


def read_shards(job: ReadingJob, shares: Sequence[Share]) -> Iterator[Read]:
    """The shards of some shares, and after those of each language what its text came to.

    Raises: as `iter_transfer`.
    """
    corpus = open_corpus(job.recipe.corpus, scheme=job.scheme)
    for share in shares:
        counts, number = TransferCounts(), 0
        transfer = iter_transfer(corpus, job.recipe.transfer, share.language, held_out=job.held_out, counts=counts)
        while sentences := tuple(s.words for s in islice(transfer, job.recipe.pseudolabel.shard_sentences)):
            if number % share.count == share.first:
                yield _prepare(job, share.language, number, sentences)
            number += 1
        yield WholeLanguage(share.language, counts, number)


def read_in_processes(job: ReadingJob, shares: Sequence[Share], *, count: int) -> Iterator[Read]:
    """As `read_shards`, in about `count` processes: shards come in any order.

    Raises: what a reader raises, if that is an XnerError; ResourceError when one was killed.
    """
    with ExitStack() as stack:
        readers = [stack.enter_context(_start(job, part)) for part in divide(shares, count)]
        threads = stack.enter_context(ThreadPoolExecutor(len(readers)))
        for reader in readers:
            stack.callback(reader.kill)  # first of all at the end: a thread waits until its reader sends or ends
        waiting = {threads.submit(_receive, reader): reader for reader in readers}
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                reader = waiting.pop(future)
                if (found := _result(future)) is not None:
                    waiting[threads.submit(_receive, reader)] = reader
                    yield found


def divide(shares: Sequence[Share], count: int) -> list[list[Share]]:
    """Shares for some `count` readers: several languages for each, or for each language several readers."""
    if len(shares) >= count:
        return [list(shares[start::count]) for start in range(count)]
    each = max(1, count // len(shares))
    return [
        [replace(share, first=share.first + place * share.count, count=share.count * each)]
        for share in shares
        for place in range(each)
    ]


def answer() -> None:
    """Be a reader: a job and its shares come on standard input, what was read goes to standard output."""
    job, shares = pickle.load(sys.stdin.buffer)
    with os.fdopen(os.dup(1), "wb") as parent:
        os.dup2(2, 1)  # whatever a library prints

        def send(value: object) -> None:
            pickle.dump(value, parent, protocol=pickle.HIGHEST_PROTOCOL)
            parent.flush()

        try:
            for found in read_shards(job, shares):
                send(found)
            send(None)
        except BrokenPipeError:
            os._exit(1)
        except XnerError as error:
            send(type(error)(str(error)))
        except Exception:
            send(RuntimeError(f"A reader of the transfer set:\n{traceback.format_exc()}"))


def _prepare(job: ReadingJob, language: str, number: int, sentences: tuple[tuple[str, ...], ...]) -> ReadyShard:
    name = shard_name(language, number)
    fingerprint = make_fingerprint("shard", job.labelled_with, language, sentences)
    is_there = published_fingerprint(shard_place(job.folder, name)) == fingerprint
    encoded = () if is_there else tuple(encoder.encode(sentences) for encoder in job.encoders)
    return ReadyShard(name, language, sentences, fingerprint, encoded)


def _start(job: ReadingJob, shares: Sequence[Share]) -> subprocess.Popen[bytes]:
    reader = subprocess.Popen(
        [sys.executable, "-P", "-c", _COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "CUDA_VISIBLE_DEVICES": ""},
        start_new_session=True,  # a terminal's Ctrl-C goes to the parent alone, which ends its readers
    )
    assert reader.stdin is not None
    with suppress(BrokenPipeError), reader.stdin:  # of a reader that ended, `_result` tells
        pickle.dump((job, list(shares)), reader.stdin, protocol=pickle.HIGHEST_PROTOCOL)
    return reader


def _receive(reader: subprocess.Popen[bytes]) -> Any:  # noqa: ANN401 - what `send` had
    assert reader.stdout is not None
    return pickle.load(reader.stdout)


def _result(future: Future[Any]) -> Read | None:
    try:
        found: Read | Exception | None = future.result()
    except (EOFError, pickle.UnpicklingError) as error:
        raise ResourceError("A process that reads the transfer set ended: killed, or out of memory.") from error
    if isinstance(found, Exception):
        raise found
    return found
