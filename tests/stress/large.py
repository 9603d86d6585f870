"""Files of 10 MB, and compressed ones of a few kB that unpack to 1 GB, in the forms that cost a reader most memory."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from stress.cases import EXPORT, RESUMING, TEMPLATE, Case
from stress.mutators import PACKERS
from stress.values import ALIAS_BOMB

SIZE = 10_000_000
_BOMB_PARTS = 100
Forms = dict[str, Callable[[], bytes]]


def large_cases(kind: str, template: Path) -> Iterator[tuple[str, Case]]:
    """Every large form of a kind by name, with each command that reads it."""
    yield from _MAKERS[kind](template)


def _filled(piece: bytes) -> bytes:
    return piece * (SIZE // len(piece))


def _numbered(form: str) -> bytes:
    """Lines that differ, until there are 10 MB."""
    size = len(form.format(1_000_000).encode())
    return "".join(form.format(number) for number in range(SIZE // size)).encode()


def _bombs(piece: bytes) -> Forms:
    """10 MB of a piece, packed, a hundred times in one file: each format takes that as one text."""
    return {
        f"1 GB{ending}": lambda packer=packer: packer(_filled(piece)) * _BOMB_PARTS
        for ending, packer in PACKERS.items()
    }


def _files(forms: Forms, name: str, commands: Sequence[Sequence[str]]) -> Iterator[tuple[str, Case]]:
    """A file in each form; `{}` stands for its name, which says how it is compressed."""
    for form, make in forms.items():
        ending = form.partition(".")[2]
        file = f"{name}.{ending}" if ending else name
        for command in commands:
            yield f"{form}: {command[0]}", Case({file: make()}, [part.replace("{}", file) for part in command])


_CHECK = ("corpus", "check", "c")
_TAG = ("tag", EXPORT, "{}", "--format", "jsonl", "--workers", "1", "--threads", "1")
_DRY_RUN = ("distil", f"{TEMPLATE}/tiny.yaml", "--dry-run", "--out", "r")


def _column_forms(separator: str) -> Forms:
    row = f"a{separator}O\n".encode()
    return {
        "one line": lambda: _filled(b"x"),
        "one word": lambda: _filled(b"x") + row[1:],
        "NUL": lambda: _filled(b"\0"),
        "one sentence": lambda: _filled(row),
        "blank lines": lambda: _filled(b"\n"),
        "spaces and line ends": lambda: _filled(b" \n"),
        "short sentences": lambda: _filled(row + b"\n"),
        "separators": lambda: _filled(separator.encode()),
        "no tags": lambda: _filled(b"alone\n"),
        "comment": lambda: b"# " + _filled(b"x"),
        "comments": lambda: _filled(b"# x\n"),
        "types": lambda: _numbered("a" + separator + "B-T{}\n"),
        "long tag": lambda: b"a" + separator.encode() + b"B-" + _filled(b"x"),
        "words": lambda: _numbered("w{}" + separator + "O\n\n"),
        "not UTF-8": lambda: _filled(b"\xff\n"),
        "columns": lambda: _filled(b"a" + separator.encode()),
    }


def _columns(name: str, separator: str) -> Callable[[Path], Iterator[tuple[str, Case]]]:
    def make(template: Path) -> Iterator[tuple[str, Case]]:
        forms = _column_forms(separator)
        bombs = _bombs(b"\0") if separator == "\t" else {}
        yield from _files({**forms, **bombs}, f"c/en/{name}", (_CHECK,))
        tagged = ("one line", "one sentence", "blank lines", "comments", "words", "columns")
        yield from _files({form: forms[form] for form in tagged}, f"c/en/{name}", (_TAG,))
        yield from _files(bombs, f"c/en/{name}", (_TAG,))

    return make


def _jsonl(template: Path) -> Iterator[tuple[str, Case]]:
    forms: Forms = {
        "long text": lambda: b'{"text": "' + _filled(b"x") + b'"}\n',
        "long word": lambda: b'{"words": ["' + _filled(b"x") + b'"], "tags": ["O"]}\n',
        "words": lambda: b'{"words": ["a"' + _filled(b',"a"') + b'], "tags": ["O"]}\n',
        "words and tags": lambda: json.dumps({"words": ["a"] * 900_000, "tags": ["O"] * 900_000}).encode(),
        "records": lambda: _filled(b'{"words":["a"],"tags":["O"]}\n'),
        "keys": lambda: ("{" + ",".join(f'"k{n}":1' for n in range(800_000)) + "}").encode(),
        "key": lambda: b'{"' + _filled(b"x") + b'": 1}',
        "deep lists": lambda: _filled(b"["),
        "deep objects": lambda: _filled(b'{"a":'),
        "digits": lambda: b'{"text":' + _filled(b"9") + b"}",
        "escapes": lambda: b'{"text": "' + _filled(rb"\u0041") + b'"}',
        "surrogates": lambda: b'{"text": "' + _filled(rb"\ud800") + b'"}',
        "no JSON": lambda: _filled(b"x"),
        "blank lines": lambda: _filled(b"\n"),
        "spans": lambda: b'{"text":"Ada","label":[' + _filled(b'[0,3,"PER"],') + b'[0,3,"PER"]]}',
        "empty objects": lambda: b'{"text":"a","x":[' + _filled(b"{},") + b"{}]}",
    }
    bombs = _bombs(b" ")
    yield from _files({**forms, **bombs}, "c/en/train.jsonl", (_CHECK, _TAG))
    yield from _files({name: forms[name] for name in ("long text", "records", "keys")}, "c/en.jsonl", (_CHECK,))
    yield from _files({"list": lambda: b"[" + _filled(b"{},") + b"{}]"}, "c/en/train.json", (_CHECK,))


def _parquet(template: Path) -> Iterator[tuple[str, Case]]:
    forms: Forms = {
        "one sentence": lambda: _table(words=_lists(["a"] * 5_000_000), tags=_lists(["O"] * 5_000_000)),
        "sentences": lambda: _table(words=_lists(["Ada"], 1_000_000), tags=_lists(["O"], 1_000_000)),
        "empty": lambda: _table(words=_lists([], 3_000_000), tags=_lists([], 3_000_000)),
        "long word": lambda: _table(words=[["x" * 200_000_000]], tags=[["O"]]),
        "columns": lambda: _table(words=[["a"]], tags=[["O"]], **{f"c{number}": [1] for number in range(20_000)}),
        "metadata": lambda: _table({"x": "x" * (SIZE // 3)}, words=[["a"]], tags=[["O"]]),
        "features": lambda: _table({"huggingface": "[" * (SIZE // 3)}, words=[["a"]], tags=[["O"]]),
        "column name": lambda: _table(**{"x" * (SIZE // 4): [1]}),
        "no table": lambda: _filled(b"PAR1"),
        "types": lambda: _table(words=[["a"]] * 300_000, tags=[[f"B-T{number}"] for number in range(300_000)]),
    }
    yield from _files(forms, "c/en/train.parquet", (_CHECK,))
    texts: Forms = {
        "long text": lambda: _table(text=["x" * 200_000_000]),
        "lines": lambda: _table(text=["\n" * 200_000_000]),
        "texts": lambda: _table(text=["Ada came"] * 1_000_000),
    }
    yield from _files(texts, "c/en.parquet", (_CHECK,))


def _table(about: dict[str, str] | None = None, **columns: Any) -> bytes:
    sink = io.BytesIO()
    table = pyarrow.table(columns).replace_schema_metadata(about)
    pyarrow.parquet.write_table(table, sink, compression="zstd", row_group_size=10**9)
    return sink.getvalue()


def _lists(value: list[str], rows: int = 1) -> Any:
    """A column with the same list in every row."""
    offsets = np.arange(rows + 1, dtype=np.int32) * len(value)
    return pyarrow.ListArray.from_arrays(offsets, pyarrow.array(value * rows, pyarrow.string()))


def _text(template: Path) -> Iterator[tuple[str, Case]]:
    forms: Forms = {
        "one word": lambda: _filled(b"x"),
        "one line": lambda: _filled(b"a "),
        "a word a character": lambda: _filled("東".encode()),
        "lines": lambda: _filled(b"a\n"),
        "blank lines": lambda: _filled(b"\n"),
        "NUL": lambda: _filled(b"\0"),
        "accents": lambda: b"e" + _filled("\u0301".encode()),
        "full stops": lambda: _filled(b"."),
        "not UTF-8": lambda: _filled(b"\xff"),
    }
    yield from _files({**forms, **_bombs(b"x")}, "c/en.txt", (_CHECK, _TAG))
    yield from _files({"blank lines.gz": lambda: PACKERS[".gz"](_filled(b"\n")) * 3}, "c/en.txt", (_CHECK, _TAG))


def _recipe(template: Path) -> Iterator[tuple[str, Case]]:
    forms: Forms = {
        "comment": lambda: b"# " + _filled(b"x"),
        "comments": lambda: _filled(b"# x\n"),
        "text": lambda: b"name: " + _filled(b"x"),
        "quoted": lambda: b'name: "' + _filled(b"x") + b'"',
        "deep": lambda: b"name: " + _filled(b"["),
        "list": lambda: b"name: [" + _filled(b"a, ") + b"a]",
        "keys": lambda: _numbered("k{}: 1\n"),
        "digits": lambda: b"seed: " + _filled(b"9"),
        "blank lines": lambda: _filled(b"\n"),
        "NUL": lambda: _filled(b"\0"),
        "not UTF-8": lambda: _filled(b"\xff"),
        "aliases": lambda: f"{ALIAS_BOMB}\nname: *a11\n".encode(),
        "documents": lambda: _filled(b"--- a\n"),
    }
    yield from _files(forms, "r.yaml", (("distil", "{}", "--dry-run", "--out", "r"),))


def _set(template: Path) -> Iterator[tuple[str, Case]]:
    """An argument has at most 128 kB on Linux."""
    values = (
        "x" * 120_000,
        "[" * 120_000,
        "9" * 120_000,
        "{a: " * 30_000,
        "[" + "a, " * 40_000 + "a]",
        "'" + "\n" * 120_000,
    )
    for value, path in itertools.product(values, ("corpus.path", "seed")):
        yield f"{path}={value[:3]}", Case({}, [*_DRY_RUN, "--set", f"{path}={value}"])
    yield "many", Case({}, [*_DRY_RUN, *("--set", f"corpus.path={'x' * 50}") * 5_000])
    yield "many unknown", Case({}, [*_DRY_RUN, *(part for n in range(5_000) for part in ("--set", f"a{n}={'x' * 50}"))])
    yield "deep path", Case({}, [*_DRY_RUN, "--set", "a." * 60_000 + "b=1"])


def _json_forms(value: dict[str, Any], *keys: str) -> Forms:
    """10 MB in place of a value, or beside its parts."""

    def with_part(part: str) -> bytes:
        text = json.dumps(value)
        whole: Any = value
        for key in keys:
            whole = whole[key]
        return text.replace(json.dumps(whole), part, 1).encode()

    entry = json.dumps(next(iter(value["files"].values()), {}) if "files" in value else {"f1": 0.5})
    return {
        "entries": lambda: with_part("{" + ",".join(f'"{n}":{entry}' for n in range(SIZE // (len(entry) + 12))) + "}"),
        "numbers": lambda: with_part("[" + "1," * (SIZE // 2) + "1]"),
        "text": lambda: with_part('"' + "x" * SIZE + '"'),
        "deep": lambda: with_part("[" * SIZE),
        "digits": lambda: with_part("9" * SIZE),
        "no JSON": lambda: _filled(b"x"),
    }


def _json_files(
    template: Path, source: str, file: str, keys: Sequence[str], commands: Sequence[Sequence[str]]
) -> Iterator[tuple[str, Case]]:
    value = json.loads((template / source / file).read_text(encoding="utf-8"))
    for form, make in _json_forms(value, *keys).items():
        for command in commands:
            case = Case({f"r/{file}": make()}, command, ((source, "r"),), writes=True)
            yield f"{'.'.join(keys)} {form}: {' '.join(command[:2])}", case


def _manifest(template: Path) -> Iterator[tuple[str, Case]]:
    tag = ("tag", "r", f"{TEMPLATE}/tiny.yaml", "--format", "jsonl")
    yield from _json_files(template, "run/export", "manifest.json", ("files",), (tag,))
    yield from _json_files(template, "run/export", "config.json", ("id2label",), (tag,))
    resume = ("distil", "r", *RESUMING)
    dry_run = ("distil", "r", "--dry-run")
    yield from _json_files(template, "run", "soft_labels/manifest.json", ("shards",), (dry_run, resume))
    yield from _json_files(template, "run", "timings.json", ("train",), (("export", "r", "--format", "hf", *RESUMING),))


def _report(template: Path) -> Iterator[tuple[str, Case]]:
    commands = (("report", "r"), ("compare", "r", f"{TEMPLATE}/run"))
    for keys in (("models", "student", "languages"), ("models", "teacher", "confusions"), ("run", "name")):
        yield from _json_files(template, "run", "report.json", keys, commands)


_MAKERS: dict[str, Callable[[Path], Iterator[tuple[str, Case]]]] = {
    "tsv": _columns("train.tsv", "\t"),
    "conll": _columns("train.conll", " "),
    "jsonl": _jsonl,
    "parquet": _parquet,
    "text": _text,
    "recipe": _recipe,
    "set": _set,
    "manifest": _manifest,
    "report": _report,
}
