"""What the command line shows: progress on standard error, results as text tables.

If standard error is a terminal, progress is bars. Elsewhere it is time-stamped lines: one for every message, and at
most one in eight seconds for the counts of a stage, so that the log of a whole day stays readable. Stages repeat their
last event every two seconds, so that ten seconds never pass without a line.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xtremedistil_ner.languages import count_languages

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from rich.progress import Progress, TaskID

    from xtremedistil_ner.commands.doctor import Finding
    from xtremedistil_ner.corpus.check import CorpusCheck, SplitStats
    from xtremedistil_ner.pipeline.run import PipelineResult
    from xtremedistil_ner.progress import Event
    from xtremedistil_ner.report.cells import Table

LINE_INTERVAL_S = 8.0
_QUIET_S = 2.0
_BAR_EVERY = 100  # texts
_MOST_NAMES = 50


class TerminalReporter:
    """The reporter of one command. As a context manager it draws bars if standard error is a terminal.

    A pickled copy writes lines, because two processes cannot draw on one terminal.
    """

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet = quiet
        self._clock = clock
        self._last_line_s: dict[str, float] = {}
        self._bars: Progress | None = None
        self._tasks: dict[str, tuple[str, TaskID]] = {}  # with the unit that it counts

    def __reduce__(self) -> tuple[Callable[..., TerminalReporter], tuple[bool]]:
        return _line_reporter, (self._quiet,)

    def __enter__(self) -> TerminalReporter:
        if not self._quiet and sys.stderr.isatty():
            self._bars = _start_bars()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if self._quiet:
            return
        if self._bars is not None:
            self._draw(self._bars, event)
        elif self._line_is_due(event):
            sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {format_event(event)}\n")
            sys.stderr.flush()

    def _draw(self, bars: Progress, event: Event) -> None:
        if not event.is_count:
            bars.console.print(format_event(event), markup=False, highlight=False)
            return
        unit, task = self._tasks.get(event.stage, ("", None))
        if task is None or unit != event.unit:
            if task is not None:
                bars.remove_task(task)
            task = bars.add_task(event.stage, total=event.total or None, details="")
            self._tasks[event.stage] = event.unit, task
        bars.update(task, completed=event.done, total=event.total or None, details=_format_details(event))

    def _line_is_due(self, event: Event) -> bool:
        if not event.is_count:
            return True
        now = self._clock()
        if now - self._last_line_s.get(event.stage, -math.inf) < LINE_INTERVAL_S:
            return False
        self._last_line_s[event.stage] = now
        return True


class TaggingProgress:
    """Progress of tagging: a bar if standard error is a terminal and shows no entities, and a summary at the end.

    Tagging of less than two seconds gets no summary.

    Units: `total` in bytes; None if unknown.
    """

    def __init__(self, total: int | None, *, is_alone: bool = True) -> None:
        self._total = total
        self._is_alone = is_alone
        self._bar: Progress | None = None
        self._documents = self._words = self._bytes = 0
        self._start = time.monotonic()

    def __enter__(self) -> TaggingProgress:
        if sys.stderr.isatty() and self._is_alone:
            self._bar = _start_tagging_bar(self._total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        seconds = time.monotonic() - self._start
        if seconds > _QUIET_S and error is None:
            speed = f"{self._words / seconds:,.0f} words/s"
            sys.stderr.write(f"{self._documents:,} texts, {self._words:,} words in {seconds:.1f} s, {speed}\n")

    def add(self, *, words: int, size: int) -> None:
        """Count one more text: its words, and its size in bytes."""
        self._documents += 1
        self._words += words
        self._bytes += size
        if self._bar is not None and self._documents % _BAR_EVERY == 0:
            speed = self._words / (time.monotonic() - self._start)
            self._bar.update(self._bar.task_ids[0], completed=self._bytes, details=f"{speed:,.0f} words/s")


def _start_tagging_bar(total: int | None) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.fields[details]}"))
    bar = Progress(*columns, console=Console(stderr=True))
    bar.add_task("", total=total, details="")
    bar.start()
    return bar


def _line_reporter(quiet: bool) -> TerminalReporter:
    return TerminalReporter(quiet=quiet)


def _start_bars() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[details]}", markup=False),
        console=Console(stderr=True),
    )
    bars.start()
    return bars


def format_event(event: Event) -> str:
    """One event as one line."""
    count = [f"{event.done}/{event.total}" if event.total else f"{event.done}", event.unit]
    count += [f"({event.done / event.total:.0%})"] if event.total else []
    what = (event.message, " ".join(filter(None, count)) if event.is_count else "")
    details = "  ".join(filter(None, (": ".join(filter(None, what)), *_format_metrics(event))))
    return f"{event.stage}: {details}".rstrip()


def _format_details(event: Event) -> str:
    return "  ".join(filter(None, (event.message, *_format_metrics(event))))


def _format_metrics(event: Event) -> list[str]:
    return [f"{name} {value:.4g}" for name, value in event.metrics.items()]


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns, the first and the last column left, the others right; the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column in (0, last) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def format_check(check: CorpusCheck, path: str) -> str:
    """What a corpus without problems has, and which of its files no run reads."""
    languages = {stats.language for stats in check.stats}
    repaired = sum(stats.repaired_tags for stats in check.stats)
    skipped = sum(stats.skipped_lines for stats in check.stats)
    text = (
        f"{path}: no problems. {len(check.stats)} labelled files of {count_languages(len(languages))}, raw text of "
        f"{count_languages(len(check.texts))}, {repaired} repaired tags, {skipped} skipped lines."
    )
    texts = [f"Languages of raw text: {', '.join(check.texts)}."] if check.texts else []
    return "\n".join((text, *texts, *_format_notes(check.stats), *format_unread(check)))


def format_unread(check: CorpusCheck) -> tuple[str, ...]:
    """A line that names the files of a corpus which no run reads, if there are any."""
    if not check.unread:
        return ()
    more = f" and {len(check.unread) - _MOST_NAMES} more" if len(check.unread) > _MOST_NAMES else ""
    return (f"Not read, because of their names: {', '.join(check.unread[:_MOST_NAMES])}{more}.",)


def _format_notes(stats: Sequence[SplitStats]) -> Iterator[str]:
    return (f"{row.language} {row.split}: {row.note}." for row in stats if row.note)


def format_stats(stats: Sequence[SplitStats]) -> str:
    """Sentences, words and entities of every labelled file of a corpus."""
    types = sorted({kind for row in stats for kind in row.entities})
    rows = [("language", "split", "sentences", "words", *types, "tags")]
    for row in stats:
        entities = (str(row.entities.get(kind, 0)) for kind in types)
        rows.append((row.language, row.split, str(row.sentences), str(row.words), *entities, row.tag_format))
    skipped = [f"{row.language} {row.split}: skipped lines: {row.skipped_lines}." for row in stats if row.skipped_lines]
    return "\n".join((format_table(rows), *skipped, *_format_notes(stats)))


def format_tables(tables: Sequence[Table]) -> str:
    """Table after table, each below its title and above its note."""
    parts = []
    for table in tables:
        parts += [table.title] if table.title else []
        parts += [format_table([table.head, *table.rows]), *([table.note] if table.note else []), ""]
    return "\n".join(parts).rstrip()


def format_models(report: Mapping[str, Any]) -> str:
    """The models of a report beside each other, and what must be said before the student is used."""
    from xtremedistil_ner.report.caveats import SYNTHETIC, about_weak_student
    from xtremedistil_ner.report.model_tables import models_table
    from xtremedistil_ner.report.verdict import format_languages, format_whole  # pydantic is not needed to tag

    models: Mapping[str, Any] = report["models"]
    verdict = report.get("verdict")
    judged = (format_whole(verdict), format_languages(verdict)) if verdict else ()
    warnings = (about_weak_student(models), SYNTHETIC if report["synthetic"] else "")
    return "\n".join((format_tables([models_table(report, models)]), *filter(None, (*judged, *warnings))))


def format_findings(findings: Sequence[Finding]) -> str:
    """What `xner doctor` found, a line each."""
    return format_table([("", "state", ""), *((finding.name, finding.state, finding.text) for finding in findings)])


def format_result(result: PipelineResult, out: Path) -> str:
    """What a run did, and the scores of its report if it has one."""
    rows = [("stage", "seconds", "precision", "state", "why")]
    rows += [(step.name, f"{step.seconds:.1f}", step.precision, step.state, step.reason) for step in result.steps]
    parts = [format_table(rows)]
    if result.report is not None:
        parts.append(format_models(result.report))
    return "\n\n".join([*parts, f"run folder: {out}"])
