"""Documents through several processes, in order: what a thread cannot do while another one holds Python's lock.

Each process loads the export once and gives back finished lines, so that the main process only reads and writes. At
most three chunks a process are held at a time.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path

from xtremedistil_ner.errors import ResourceError, UsageError
from xtremedistil_ner.processes.children import end_with_parent
from xtremedistil_ner.processes.stop_signals import without_interrupts
from xtremedistil_ner.tagging.documents import Document
from xtremedistil_ner.tagging.entity_filter import KEEP_ALL, EntityFilter
from xtremedistil_ner.tagging.export_reader import GraphPrecision, choose_graph, find_export, verify_export
from xtremedistil_ner.tagging.formats import LINE_FORMATS, OutputFormat, TaggedLines, tag_lines
from xtremedistil_ner.tagging.tagger import MOST_HELD, MOST_THREADS, Tagger, require_count

_CHUNKS_AHEAD = 3
_tagger: Tagger | None = None
"""The tagger of a worker process, loaded when it starts."""


def tag_in_processes(
    export: Path,
    documents: Iterable[Document],
    form: OutputFormat,
    *,
    workers: int,
    precision: GraphPrecision | None = None,
    threads: int = 1,
    batch: int = 1024,
    keep: EntityFilter = KEEP_ALL,
) -> Iterator[TaggedLines]:
    """Tag and format documents in order, in `workers` processes.

    Raises: as `Tagger.from_pretrained` and `tag_lines`; UsageError for numbers out of bounds, and for a format in which
    documents are not written by themselves; ResourceError when a process ends by itself.
    """
    if form not in LINE_FORMATS:
        raise UsageError(f"{workers} workers: {form} is written by one. Take one, or {' or '.join(LINE_FORMATS)}.")
    for name, value, most in (
        ("workers", workers, MOST_THREADS),
        ("threads", threads, MOST_THREADS),
        ("batch", batch, MOST_HELD),
    ):
        require_count(value, name, most)
    export = find_export(export)
    choose_graph(export, verify_export(export), precision)  # here, where an error says what is wrong
    context = multiprocessing.get_context("spawn")  # a copy of a process with threads may hang
    pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(export, precision, threads))
    waiting: deque[Future[list[TaggedLines]]] = deque()
    rest = iter(documents)
    try:
        while True:
            while len(waiting) < _CHUNKS_AHEAD * workers and (chunk := list(islice(rest, batch))):
                with without_interrupts():  # a terminal sends Ctrl-C to all; the main process ends the others
                    waiting.append(pool.submit(_tag_chunk, chunk, form, keep))
            if not waiting:
                return
            yield from waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ResourceError("A worker process ended: killed, or out of memory. Take fewer --workers.") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start(export: Path, precision: GraphPrecision | None, threads: int) -> None:
    global _tagger
    end_with_parent()
    _tagger = Tagger.from_pretrained(export, precision=precision, threads=threads)


def _tag_chunk(chunk: Sequence[Document], form: OutputFormat, keep: EntityFilter) -> list[TaggedLines]:
    assert _tagger is not None
    return list(tag_lines(_tagger, chunk, form, batch=len(chunk), keep=keep))
