"""The commands that use an export: `tag` and `serve`."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import uuid4

import typer

from xtremedistil_ner.commands.next_steps import show_next
from xtremedistil_ner.commands.options import ColumnsOption, ExportFolder, GraphOption
from xtremedistil_ner.errors import CorpusError, UsageError, quoted
from xtremedistil_ner.processes.cores import available_cores
from xtremedistil_ner.run_folder.whole_files import whole_file
from xtremedistil_ner.serve.limits import Limits
from xtremedistil_ner.tagging.export_reader import find_export

if TYPE_CHECKING:
    from xtremedistil_ner.recipe.data_sections import ColumnsSection

LIMITS = Limits()
_LARGE_BYTES = 1_000_000  # a second's work, and a process takes half of that to start
service_app = typer.Typer(rich_markup_mode=None)


@service_app.command()
def tag(
    export: ExportFolder,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Input files, plain or .gz .xz .bz2 .zst. [default: standard input]"),
    ] = None,
    source: Annotated[
        Literal["text", "jsonl", "conll"] | None,
        typer.Option(
            "--input",
            help="One text per line; JSON objects with `text` or `words`; or one word per line, in columns. "
            "[default: by file name]",
        ),
    ] = None,
    form: Annotated[
        Literal["jsonl", "conll", "brat", "terminal"] | None,
        typer.Option("--format", help="Output format. [default: terminal on a terminal, else jsonl]"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="File to write, whole or not at all. [default: standard output]"
        ),
    ] = None,
    min_score: Annotated[
        float, typer.Option(metavar="SCORE", help="Leave out entities with a lower score, from 0 to 1.")
    ] = 0.0,
    types: Annotated[
        str | None, typer.Option(metavar="TYPE,TYPE,…", help="Leave out entities of other types. [default: all types]")
    ] = None,
    columns: ColumnsOption = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Skip lines that cannot be read, and count them.")
    ] = False,
    precision: GraphOption = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Model threads per worker. [default: cores divided by workers]")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Worker processes. [default: one per core for files above 1 MB in jsonl or conll, else 1]"
        ),
    ] = None,
) -> None:
    """Tag text from files or standard input.

    The order of the input is kept, and memory does not grow with its length.
    """
    from xtremedistil_ner.commands.terminal import TaggingProgress
    from xtremedistil_ner.corpus.layout import SHOWN_BY_FILE, ColumnNumbers
    from xtremedistil_ner.tagging.documents import STANDARD_INPUT, format_of, read_documents
    from xtremedistil_ner.tagging.entity_filter import EntityFilter
    from xtremedistil_ner.tagging.formats import LINE_FORMATS, tag_lines, writable
    from xtremedistil_ner.tagging.tagger import Tagger
    from xtremedistil_ner.tagging.workers import tag_in_processes

    export, paths = find_export(export), files or []
    if not paths and sys.stdin is None:
        raise UsageError("Standard input is closed. Give a file.")
    keep = EntityFilter(min_score, None if types is None else tuple(name.strip() for name in types.split(",")))
    target = None if output is None else _own_place(output, paths, export)
    to_terminal = output is None and sys.stdout.isatty()
    form = form or ("terminal" if to_terminal else "jsonl")
    if form == "brat" and len(paths) > 1:
        raise UsageError("--format brat: one .ann belongs to one text. Give one file at a time.")
    skipped = _Skipped()
    forms = {source or format_of(path) for path in paths or [STANDARD_INPUT]}
    named = read_columns(columns).get("columns")
    if named and "conll" not in forms:
        raise UsageError("--columns: no input has columns. Give --input conll, or leave it out.")
    numbers = ColumnNumbers(named.word, named.tag) if named else SHOWN_BY_FILE
    documents = read_documents(paths, source, columns=numbers, on_bad_line=skipped if skip_bad else None)
    if skip_bad:
        documents = writable(documents, form, on_bad_line=skipped)
    total = _total_bytes(paths)
    if workers is None:
        is_large = bool(paths) and (total is None or total > _LARGE_BYTES)
        workers = available_cores() if is_large and form in LINE_FORMATS else 1
    threads = threads or max(1, available_cores() // workers)
    one_by_one = not paths and sys.stdin.isatty()
    with TaggingProgress(total, is_alone=not to_terminal) as progress, _writer(target) as write:
        if workers > 1:
            tagged = tag_in_processes(
                export, documents, form, workers=workers, precision=precision, threads=threads, keep=keep
            )
        else:
            tagger = Tagger.from_pretrained(export, precision=precision, threads=threads)
            colours = to_terminal and "NO_COLOR" not in os.environ
            batch = 1 if one_by_one else 1024
            tagged = tag_lines(tagger, documents, form, batch=batch, keep=keep, colours=colours)
        for document in tagged:
            progress.add(words=document.words, size=document.size)
            write(document.text)
            if one_by_one:
                sys.stdout.flush()
    skipped.tell("sentence" if forms == {"conll"} else "line" if "conll" not in forms else "line or sentence")


@service_app.command()
def serve(
    export: ExportFolder,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    precision: GraphOption = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Tagging threads. [default: one per core]")] = None,
    body_bytes: Annotated[int, typer.Option(min=1, help="Largest request body, in bytes.")] = LIMITS.body_bytes,
    texts: Annotated[int, typer.Option(min=1, help="Most texts per request.")] = LIMITS.texts,
    characters: Annotated[
        int, typer.Option(min=1, help="Most characters per request, all texts together.")
    ] = LIMITS.characters,
    requests: Annotated[
        int, typer.Option(min=1, help="Most requests in flight; further ones get 503.")
    ] = LIMITS.requests,
    connections: Annotated[
        int, typer.Option(min=1, help="Most open connections; beyond that, the longest idle one is closed.")
    ] = LIMITS.connections,
    timeout: Annotated[float, typer.Option(min=0.1, help="Time limit of a request, in seconds.")] = LIMITS.timeout_s,
) -> None:
    """Serve an export over HTTP, with a web page at `/`.

    On SIGTERM the service answers the requests it has and ends with exit code 0.
    """
    from xtremedistil_ner.serve.server import serve_export

    limits = Limits(
        body_bytes=body_bytes,
        texts=texts,
        characters=characters,
        requests=requests,
        connections=connections,
        timeout_s=timeout,
    )
    serve_export(export, host=host, port=port, workers=threads or available_cores(), precision=precision, limits=limits)


def read_columns(text: str | None) -> dict[str, ColumnsSection]:
    """Parse a `--columns` value such as `word=2,tag=3` into the keyword argument `columns`; {} without a value.

    Raises: UsageError for anything else.
    """
    if text is None:
        return {}
    from xtremedistil_ner.recipe.data_sections import ColumnsSection

    parts = [part.partition("=") for part in text.replace(" ", "").split(",")]
    try:
        return {"columns": ColumnsSection.model_validate({name: int(number) for name, _, number in parts})}
    except ValueError as error:  # pydantic's too
        raise UsageError(f"--columns {quoted(text)}: not two columns. Write for example word=1,tag=2.") from error


def _own_place(output: Path, inputs: Sequence[Path], export: Path) -> Path:
    """The file that an output is or links to. Raises: UsageError if it is an input, not regular, or in the export."""
    target = Path(os.path.realpath(output))
    if os.path.lexists(target) and not target.is_file():
        raise UsageError(f"--output {output}: no regular file. Leave --output out and redirect standard output.")
    if target.exists() and any(path.samefile(target) for path in inputs if path.exists()):
        raise UsageError(f"--output {output}: this file is an input. Give another name.")
    if export.resolve() in target.parents:
        raise UsageError(f"--output {output}: an export with a foreign file is refused. Give a place outside {export}.")
    return target


@contextmanager
def _writer(output: Path | None) -> Iterator[Callable[[str], object]]:
    """What writes text to standard output, or to a file that appears when it is complete.

    Until then the file has a name of its own: two commands never share it, and no file of the user has it.
    """
    if output is None:
        yield sys.stdout.write
        return
    with whole_file(output, temporary=output.with_name(f".xner-{uuid4().hex}.tmp")) as stream:
        yield lambda text: stream.write(text.encode())
    show_next(look_at=output)


@dataclass
class _Skipped:
    """The number of skipped lines or sentences, and the error of the first."""

    count: int = 0
    first: str = ""

    def __call__(self, error: CorpusError) -> None:
        self.first = self.first or str(error)
        self.count += 1

    def tell(self, unit: str) -> None:
        """Say on standard error how many there were, if any."""
        if self.count:
            plural = "" if self.count == 1 else "s"
            typer.echo(f"{self.count} bad {unit}{plural} passed over; the first: {self.first}", err=True)


def _total_bytes(paths: Sequence[Path]) -> int | None:
    """Total size of the input; None if a file is compressed or an input is not a regular file."""
    from xtremedistil_ner.corpus.streams import COMPRESSIONS

    if any(path.suffix in COMPRESSIONS[1:] for path in paths):
        return None
    inputs = [path.stat() for path in paths if path.is_file()] if paths else [os.fstat(sys.stdin.fileno())]
    return sum(status.st_size for status in inputs) if all(stat.S_ISREG(status.st_mode) for status in inputs) else None
