"""Shards of the transfer set, read and tokenised: here, or in processes of their own beside a GPU.

One core reads, tokenises and hashes some 300,000 pieces a second; an H100 with mBERT labels 2.3 million (computed;
`docs/log.md`). Threads would not help enough: more than half of that work holds Python's lock, which the thread that
feeds the device needs as well. So each reader is a process that has some of the languages, or a share of the shards of
one. It holds no model, loads no torch, and waits with its next shard until the last one was taken.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final, TypeAlias

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.corpus.transfer import TransferCounts, iter_transfer
from xtremedistil_ner.errors import ResourceError, XnerError, lack_of_resource
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.pieces.encoder import EncodedCorpus, PieceEncoder
from xtremedistil_ner.processes.children import end_with_parent, how_it_ended
from xtremedistil_ner.processes.stop_signals import without_interrupts
from xtremedistil_ner.recipe.schema import Recipe
from xtremedistil_ner.run_folder.artefacts import published_fingerprint
from xtremedistil_ner.run_folder.soft_labels import shard_name, shard_place
from xtremedistil_ner.run_folder.whole_files import make_fingerprint

_MOST_OF_ONE: Final = 4
"""Readers of one language. Each reads all of its text and holds the keys of all its sentences, 90 bytes each; only the
rest of the work is divided. A shard takes 0.28 s + 0.84 s / readers (`docs/log.md`): a fifth would save 9 %."""


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
    """As `read_shards`, in at most `count` processes: shards come in any order.

    Each is received in a thread while the one before it is labelled.

    Raises: what a reader raises, if that is an XnerError; ResourceError when its memory or disk ran out, or it ended.
    """
    parts = divide(shares, count)
    with ExitStack() as stack:
        readers = dict(stack.enter_context(_started()) for _ in parts)
        for reader, part in zip(readers, parts, strict=True):
            with suppress(OSError):  # of a reader that has ended, `_receive` tells
                reader.send((job, part))
        thread = stack.enter_context(ThreadPoolExecutor(1))
        for process in readers.values():
            stack.callback(process.kill)  # before the thread ends: it waits until a reader sends or ends
        received = _receive(readers)
        following = thread.submit(next, received, None)
        while (found := following.result()) is not None:
            following = thread.submit(next, received, None)
            yield found


def divide(shares: Sequence[Share], count: int) -> list[list[Share]]:
    """Shares for some `count` readers: several languages for each, or for each language several readers."""
    if len(shares) >= count:
        return [list(shares[start::count]) for start in range(count)]
    each = min(count // len(shares), _MOST_OF_ONE)
    return [
        [replace(share, first=share.first + place * share.count, count=share.count * each)]
        for share in shares
        for place in range(each)
    ]


def _prepare(job: ReadingJob, language: str, number: int, sentences: tuple[tuple[str, ...], ...]) -> ReadyShard:
    name = shard_name(language, number)
    fingerprint = make_fingerprint("shard", job.labelled_with, language, sentences)
    is_there = published_fingerprint(shard_place(job.folder, name)) == fingerprint
    encoded = () if is_there else tuple(encoder.encode(sentences) for encoder in job.encoders)
    return ReadyShard(name, language, sentences, fingerprint, encoded)


@contextmanager
def _started() -> Iterator[tuple[Connection, SpawnProcess]]:
    """A reader that waits for its job; it ends with the block."""
    context = multiprocessing.get_context("spawn")  # a copy of a process with threads may hang
    own, its = context.Pipe()
    process = context.Process(target=_read_for_parent, args=(its,), daemon=True)
    with own:
        with its, without_interrupts():  # a terminal sends Ctrl-C to all; this process ends the others
            process.start()
        try:
            yield own, process
        finally:
            process.kill()
            process.join()


def _read_for_parent(parent: Connection) -> None:
    """Be a reader: receive a job and its shares, send what was read, or an error."""
    end_with_parent()
    job, shares = parent.recv()
    try:
        for found in read_shards(job, shares):
            parent.send(found)
    except BrokenPipeError:
        os._exit(1)  # the parent has ended
    except XnerError as error:
        parent.send(error)
    except Exception as error:
        defect = RuntimeError(f"A reader of the transfer set:\n{traceback.format_exc()}")
        parent.send(lack_of_resource(error) or defect)


def _receive(readers: Mapping[Connection, SpawnProcess]) -> Iterator[Read]:
    """What readers send, as it comes, until all have ended well."""
    left = dict(readers)
    while left:
        ready = wait(list(left))
        for reader in [one for one in left if one in ready]:
            try:
                found = reader.recv()
            except (EOFError, OSError) as error:
                process = left.pop(reader)
                process.join()
                if process.exitcode:
                    raise ResourceError(
                        f"A process that reads the transfer set {how_it_ended(process.exitcode)}. The same command "
                        "labels only what is missing."
                    ) from error
                continue
            if isinstance(found, Exception):
                raise found
            yield found
