"""Inputs of each kind: files made of valid ones by one to three changes, and the command that reads them.

A command works in a folder of its own, beside `template` (a corpus, its recipe and its finished run) and `canary`,
which nothing may touch. Paths are relative, so that an input that was kept can be tried again by hand.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from pydantic import BaseModel
from stress.mutators import (
    ALIAS_BOMB,
    OUTSIDE,
    YAML_VALUES,
    change_bytes,
    change_columns,
    change_json,
    change_yaml,
    dump_json,
    pack,
)
from tiny_run import RECIPE, labelled_text, write_corpus

from xtremedistil_ner.schema import Recipe

TEMPLATE = "../template"
EXPORT = f"{TEMPLATE}/run/export"
RESUMING = ("--processes", "1")


class UnusableName(Exception):
    """A name that no file can have."""


@dataclass(frozen=True, slots=True)
class Case:
    """Files by name, what is copied of the template before them, and a command. Units: seconds of the processor.

    `resealed`: a folder whose manifest is made to fit the files, so that their content is read. `writes`: the command
    may change its own folder.
    """

    files: dict[str, bytes]
    arguments: Sequence[str]
    copied: Sequence[tuple[str, str]] = ()
    resealed: str | None = None
    writes: bool = False
    limit_s: float = 5.0
    lost: Sequence[str] = field(default=())

    def write(self, folder: Path) -> None:
        """Make the folder that the command works in.

        Raises: UnusableName.
        """
        for source, target in self.copied:
            shutil.copytree(folder.parent / "template" / source, folder / target)
        for name in self.lost:
            (folder / name).unlink()
        for name, data in self.files.items():
            try:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data)
            except (OSError, ValueError) as error:
                raise UnusableName(name) from error
        if self.resealed is not None:
            reseal(folder / self.resealed)


def reseal(folder: Path) -> None:
    """Make a manifest vouch for the files as they are, where it still can be read."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        for name, entry in manifest["files"].items():
            data = (folder / name).read_bytes()
            entry.update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return
    path.write_text(json.dumps(manifest), encoding="utf-8")


def make_template(folder: Path, finished: Path | None = None) -> None:
    """`template` and `canary` in a folder; the run is copied from a `finished` one, or made in some seconds."""
    template, canary = folder / "template", folder / "canary"
    write_corpus(template / "corpus")
    (template / "tiny.yaml").write_text(RECIPE.format(corpus=f"{TEMPLATE}/corpus"), encoding="utf-8")
    (canary / "victim-00000").mkdir(parents=True)
    for name in ("victim", "victim.txt", "victim-00000/logits.npy"):
        (canary / name).write_text("canary", encoding="utf-8")
    if finished is None:
        from xtremedistil_ner.pipeline import run_pipeline
        from xtremedistil_ner.progress import silent
        from xtremedistil_ner.recipe import load_recipe

        recipe = load_recipe(template / "tiny.yaml", overrides=[f"corpus.path={template / 'corpus'}"])
        run_pipeline(recipe, template / "run", processes=1, report=silent)
    else:
        shutil.copytree(finished, template / "run")
    recipe_file = template / "run" / "recipe.yaml"
    text = recipe_file.read_text(encoding="utf-8")
    lines = [f"  path: {TEMPLATE}/corpus" if line.startswith("  path: /") else line for line in text.splitlines()]
    recipe_file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_case(kind: str, rng: random.Random, template: Path) -> Case:
    """A case of a kind."""
    return _MAKERS[kind](rng, template)


def _changed(rng: random.Random, data: bytes, change: Callable[[random.Random, str], str], other: bytes) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 3))):
        if rng.random() < 0.3:
            data = change_bytes(rng, data, other)
        else:
            data = change(rng, data.decode("utf-8", "replace")).encode("utf-8", "replace")
    return data


def _changed_json(rng: random.Random, data: bytes, times: Sequence[int] = (1, 1, 2, 3)) -> bytes:
    value = json.loads(data)
    for _ in range(rng.choice(times)):
        value = change_json(rng, value)
    text = dump_json(value).encode("utf-8", "surrogatepass")
    return change_bytes(rng, text, data) if rng.random() < 0.15 else text


def _look(rng: random.Random) -> list[str]:
    return rng.choice((["corpus", "check", "c"], ["corpus", "check", "c"], ["corpus", "stats", "c"]))


def _tag(rng: random.Random, file: str, forms: Sequence[str]) -> list[str]:
    options = ["--skip-bad"] if rng.random() < 0.3 else []
    if rng.random() < 0.5:
        options += ["--input", rng.choice(forms)]
    form = rng.choice(("jsonl", "jsonl", "conll", "brat", "terminal"))
    return ["tag", EXPORT, file, "--workers", "1", "--threads", "1", "--format", form, *options]


# --- labelled text ---


def _columns(endings: Sequence[str], seeds: Sequence[str]) -> Callable[[random.Random, Path], Case]:
    def make(rng: random.Random, template: Path) -> Case:
        data = _changed(rng, rng.choice(seeds).encode(), change_columns, rng.choice(seeds).encode())
        language = rng.choice(
            ("en", "en", "en", "en", "no", "zh-Hans", "EN2", "a b", "<img onerror=x>", "a|b", "en\n", "x" * 200)
        )
        split = rng.choice(("train", "train", "dev", "test", "validation"))
        name, data = pack(rng, f"c/{language}/{split}{rng.choice(endings)}", data)
        files = {name: data}
        if rng.random() < 0.2:
            files["c/en/dev.tsv"] = labelled_text(3).encode()
        sound = {f"c/en/{split}.tsv": labelled_text(4, numbered=split).encode() for split in ("train", "dev", "test")}
        draw = rng.random()
        if draw < 0.55:
            return Case(files, _look(rng))
        if draw < 0.85:
            return Case(files, _tag(rng, name, ("conll", "conll", "text", "jsonl")))
        if draw < 0.93:
            run = ["distil", f"{TEMPLATE}/tiny.yaml", "--set", "corpus.path=c", "--out", "r", "--dry-run"]
            return Case({**sound, **files}, run)
        split = rng.choice(("train", "dev", "test"))
        return Case(files, ["evaluate", EXPORT, "--corpus", "c", "--split", split])

    return make


_TSV_SEEDS = (
    labelled_text(8),
    labelled_text(3, numbered="n"),
    "# text = Ada sleeps\nAda\tB-PER\nsleeps\tO\n\n# id 7\tdomain=en\n#\tO\nx\tO\n\n",
    "en:Rome\tB-LOC\nen:is\tO\nen:old\tO\n\n",
    "-DOCSTART-\tO\n\n1\tNew\tI-LOC\n2\tYork\tI-LOC\n\n",
    "a\tS-LOC\nb\tB-PER\nc\tE-PER\nd\tO\n",
    "# newdoc id = x\n# sent_id = 1\n1\tAnna\tB-PER\t-\t-\n2\tkam\tO\t-\t-\n\n",
)
_CONLL_SEEDS = (
    "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\nGerman JJ B-NP B-MISC\n\nPeter NNP B-NP B-PER\n",
    "# id 5239d808 domain=en\nAda _ _ B-PER\nLovelace _ _ I-PER\n# _ _ O\n\n",
    labelled_text(4).replace("\t", " "),
    "# sent_id = 1\n# text = Anna kam\n1\tAnna\tAnna\tPROPN\t_\t_\t0\troot\t_\tNER=B-PER\n"
    "2-3\tvom\t_\t_\t_\t_\t_\t_\t_\t_\n2\tvon\tvon\tADP\t_\t_\t1\tcase\t_\tNER=O|SpaceAfter=No\n\n",
    "Ada\tX\tI-PER\t\nsleeps\tX\tO\t\n \t \nLondon\tX\tI-LOC\t\n",
)

# --- records ---

_RECORDS = (
    {"words": ["Ada", "lives", "in", "New", "York"], "tags": ["B-PER", "O", "O", "B-LOC", "I-LOC"]},
    {"tokens": ["Rome"], "ner_tags": ["B-LOC"], "id": 7, "lang": "en"},
    {"text": "Ada Lovelace in London", "label": [[0, 12, "PER"], [16, 22, "LOC"]], "id": 1},
    {
        "text": "Ada in London",
        "entities": [{"id": 1, "label": "PER", "start_offset": 0, "end_offset": 3}],
        "relations": [],
    },
    {
        "text": "Ada in London",
        "tokens": [{"text": "Ada", "start": 0, "end": 3, "id": 0}, {"text": "in", "start": 4, "end": 6, "id": 1}],
        "spans": [{"start": 0, "end": 3, "label": "PER", "token_start": 0, "token_end": 0}],
        "answer": "accept",
        "meta": {"source": "x"},
    },
    {"text": "Ada in London", "language": "en"},
    {"text": "Ada kom", "language": "no", "ids": [1, 2]},
)
_LABEL_STUDIO = {
    "id": 1,
    "data": {"text": "Ada in London"},
    "annotations": [
        {
            "id": 3,
            "was_cancelled": False,
            "result": [
                {
                    "type": "labels",
                    "from_name": "label",
                    "to_name": "text",
                    "value": {"start": 0, "end": 3, "text": "Ada", "labels": ["PER"]},
                }
            ],
        }
    ],
}


def _jsonl(rng: random.Random, template: Path) -> Case:
    record = rng.choice(_RECORDS)
    sound = json.dumps(record).encode()
    lines = [sound, _changed_json(rng, sound), sound] if rng.random() < 0.7 else [_changed_json(rng, sound)]
    data = b"\n".join(lines) + b"\n"
    if rng.random() < 0.1:
        data = change_bytes(rng, data, sound)
    draw = rng.random()
    if draw < 0.08:
        data = b"[" + _changed_json(rng, json.dumps(_LABEL_STUDIO).encode()) + b"]"
        name, data = pack(rng, "c/en/train.json", data)
        return Case({name: data}, _look(rng))
    if draw < 0.5:
        name, data = pack(rng, "c/en/train.jsonl", data)
        return Case({name: data}, _look(rng))
    if draw < 0.75:
        name, data = pack(rng, "f.jsonl", data)
        return Case({name: data}, _tag(rng, name, ("jsonl", "jsonl", "text", "conll")))
    name, data = pack(rng, rng.choice(("t.jsonl", "t/en.jsonl")), data)
    return _transfer(rng, name, data)


def _transfer(rng: random.Random, name: str, data: bytes) -> Case:
    """Raw text: looked at, or labelled by the teacher that the template has."""
    if name.startswith("t/") and rng.random() < 0.7:
        return Case({name: data}, ["corpus", "check", "t"])
    place = "t" if name.startswith("t/") else name
    change = ["--set", f"transfer.path={place}"]
    if rng.random() < 0.2:
        change += ["--langs", "en"]
    if rng.random() < 0.8:
        return Case({name: data}, ["distil", f"{TEMPLATE}/tiny.yaml", *change, "--out", "r", "--dry-run"])
    run = ["distil", "r", *change, "--until", "pseudolabel", *RESUMING]
    epochs = [
        "--set",
        "finetune.epochs=0",
        "--set",
        f"teacher.checkpoint={TEMPLATE}/run/teacher",
        "--set",
        "teacher.shape=null",
    ]
    return Case({name: data}, [*run, *epochs], copied=(("run", "r"),), writes=True, limit_s=20.0)


def _parquet(rng: random.Random, template: Path) -> Case:
    data = _parquet_file(rng)
    for _ in range(rng.choice((0, 0, 1, 2))):
        data = change_bytes(rng, data, data)
    if rng.random() < 0.7:
        return Case({"c/en/train.parquet": data}, _look(rng))
    return _transfer(rng, rng.choice(("t.parquet", "t/en.parquet")), data)


def _parquet_file(rng: random.Random) -> bytes:
    columns = rng.choice(
        (("words", "tags"), ("tokens", "ner_tags"), ("words", "words"), ("words", "tags", "tags"), ("words",))
    )
    columns = rng.choice((columns, ("text",), ("text", "language"), ("text", "text"), ()))
    values = [_arrow_values(rng, name) for name in columns]
    rows = min(map(len, values), default=0)
    table = pyarrow.Table.from_arrays([value.slice(0, rows) for value in values], names=list(columns))
    if rng.random() < 0.3:
        about = rng.choice(
            (b"{", b"[]", b"null", b'{"info": 1}', b'{"info": {"features": []}}', b"\xff", _features(rng))
        )
        table = table.replace_schema_metadata(
            {b"huggingface": about, b"ARROW:schema": b"x"} if rng.random() < 0.1 else {b"huggingface": about}
        )
    sink = io.BytesIO()
    version, packing = rng.choice(("1.0", "2.4", "2.6")), rng.choice(("snappy", "none", "gzip", "zstd", "brotli"))
    pyarrow.parquet.write_table(
        table, sink, version=version, compression=packing, row_group_size=rng.choice((1, 2, 1000))
    )
    return sink.getvalue()


def _features(rng: random.Random) -> bytes:
    feature = {
        "feature": {"names": ["O", "B-PER", "I-PER"], "_type": "ClassLabel"},
        "_type": rng.choice(("Sequence", "List")),
    }
    words = {"feature": {"dtype": "string", "_type": "Value"}, "_type": "Sequence"}
    about = json.dumps(
        {"info": {"features": {"words": words, "tags": feature, "tokens": words, "ner_tags": feature}}}
    ).encode()
    return _changed_json(rng, about, (0, 1, 2))


def _arrow_values(rng: random.Random, name: str) -> Any:
    texts = pyarrow.array([["Ada", "came"], ["Rome"], []], pyarrow.list_(pyarrow.string()))
    sound = {"tags": [["B-PER", "O"], ["B-LOC"], []], "ner_tags": [[1, 0], [1], []], "text": ["Ada came", "Rome", ""]}
    sound["language"] = ["en", "no", rng.choice(("en", "", *OUTSIDE))]
    bad = pyarrow.array([[b"Ad\xff", b"c"], [b"\xed\xa0\x80"], []], pyarrow.list_(pyarrow.binary()))
    nested = pyarrow.array([[["Ada"]], [["Rome"]], []])
    good = pyarrow.array(sound[name]) if name in sound else texts
    if rng.random() < 0.5:
        return good
    return rng.choice(
        (
            good,
            texts,
            bad,
            bad.cast(pyarrow.list_(pyarrow.string()), safe=False) if rng.random() < 0 else _unchecked(bad),
            nested,
            pyarrow.array([1, 2, 3]),
            pyarrow.array([None, None, None]),
            pyarrow.array([None, ["Rome"], [None]], pyarrow.list_(pyarrow.string())),
            pyarrow.array([[1, 0], [99], []]),
            pyarrow.array([[1, -1], [2**62], []], pyarrow.list_(pyarrow.int64())),
            pyarrow.array([[0.5, float("nan")], [1.0], []]),
            pyarrow.array([True, False, None]),
            pyarrow.array([{"a": 1}, {"a": 2}, None]),
            pyarrow.array(["2024-01-01"] * 3).cast(pyarrow.date32()),
            pyarrow.array([[1], [2], [3]], pyarrow.list_(pyarrow.timestamp("us"))),
            pyarrow.array([["a", "b"], ["c", "d"], ["e", "f"]], pyarrow.list_(pyarrow.string(), 2)),
            pyarrow.array([["Ada", "came"], ["Rome"], []], pyarrow.large_list(pyarrow.large_string())),
            pyarrow.array(["Ada", "came", "Ada"]).dictionary_encode(),
            pyarrow.array([b"a", b"\xff", None]),
            pyarrow.array([[("a", 1)], [], []], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
            pyarrow.array([["x\ny", ""], ["\r"], [" "]]),
            pyarrow.array([["x" * 200_000], ["O"] * 5000, ["B-" + "x" * 9000]]),
            pyarrow.array([], pyarrow.list_(pyarrow.string())),
            pyarrow.array([[10**18] * 3, [1], []], pyarrow.list_(pyarrow.decimal128(38, 5))),
        )
    )


def _unchecked(lists: Any) -> Any:
    """Lists of bytes that call themselves text."""
    bytes_of = lists.values
    values = pyarrow.Array.from_buffers(pyarrow.string(), len(bytes_of), bytes_of.buffers())
    return pyarrow.ListArray.from_arrays(lists.offsets, values)


# --- raw text ---

_TEXT_SEEDS = (
    "Ada lives in London .\nNobody came .\n\nHow are you ?\n",
    "Zoë kom till Malmö.\n東京は大きい。\nไทย\n",
    "e\u0301 \u200d x\n" * 5,
)


def _change_text(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    piece = rng.choice(
        (
            *(
                "\x00",
                "\x1b[2J",
                "\u2028",
                "\x85",
                "\ufeff",
                "\u202e",
                "\r",
                "\n" * 3000,
                "\t",
                "\u00a0",
                "\x0c",
                "\ufffe",
            ),
            *("a" * 3_000, "a" * 300_000, "ä " * 5_000, "東" * 20_000, "\u0301" * 5_000, "." * 9_000, " " * 100_000),
            *(
                "\U0001f468\u200d" * 500,
                "\U000e0001",
                "[UNK]",
                "[PAD] [CLS] [SEP]",
                "##a",
                "<s>",
                "{",
                '{"text": "x"}',
                "-DOCSTART-",
            ),
        )
    )
    return text[:at] + piece + text[at:]


def _text(rng: random.Random, template: Path) -> Case:
    data = _changed(rng, rng.choice(_TEXT_SEEDS).encode(), _change_text, rng.choice(_TEXT_SEEDS).encode())
    if rng.random() < 0.6:
        name, data = pack(rng, rng.choice(("f.txt", "f.txt", "f", "f.md", "-")), data)
        return Case({name: data}, _tag(rng, f"./{name}", ("text", "text", "jsonl", "conll")))
    name, data = pack(rng, rng.choice(("t/en.txt", "t/en.txt", "t/xx.txt", "t/a b.txt", "t.txt")), data)
    return _transfer(rng, name, data)


# --- recipes ---

_RECIPE_SEEDS = (
    RECIPE.format(corpus=f"{TEMPLATE}/corpus"),
    "name: demo\ncorpus: {path: demo, languages: [no, en]}\nteacher:\n  checkpoint: ../template/run/teacher\n"
    "  labels: {B-LOC: B-LOC}\nfinetune: {epochs: 0}\ntransfer:\n  path: ../template/corpus\n  languages: [en]\n"
    "export:\n  formats: [hf, onnx]\n  licence: mit\n",
    "seed: 3\ncorpus:\n  hub: {id: a/b, tag_names: [O, B-X, I-X]}\nstudent:\n  kind: transformer\n  transformer:\n"
    "    start: teacher\n    teacher_layers: [1]\ntrain: {strategy: D1, loss_weights: {labels: 2.0}}\n",
)


def _recipe(rng: random.Random, template: Path) -> Case:
    text = rng.choice(_RECIPE_SEEDS)
    if rng.random() < 0.25:
        path, value = rng.choice(recipe_paths()), rng.choice(YAML_VALUES)
        lines = [f"{'  ' * depth}{key}:" for depth, key in enumerate(path.split("."))]
        text = "\n".join([*lines[:-1], f"{lines[-1]} {value}"]) + "\n"
    if rng.random() < 0.03:
        text = f"{ALIAS_BOMB}\n{text}"
    data = _changed(rng, text.encode(), change_yaml, rng.choice(_RECIPE_SEEDS).encode())
    run = ["distil", "r.yaml", "--dry-run", "--out", "r"]
    return Case({"r.yaml": data}, run)


@cache
def recipe_paths() -> tuple[str, ...]:
    """Every section and field of a recipe."""

    def paths(section: type[BaseModel], prefix: str) -> list[str]:
        found = []
        for name, about in section.model_fields.items():
            found.append(f"{prefix}{name}")
            kinds = [about.annotation, *getattr(about.annotation, "__args__", ())]
            inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
            found += paths(inner, f"{prefix}{name}.") if inner else []
        return found

    return tuple(paths(Recipe, ""))


def _set(rng: random.Random, template: Path) -> Case:
    arguments = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        path = rng.choice(recipe_paths())
        if rng.random() < 0.3:
            path = rng.choice(
                (
                    "",
                    ".",
                    "a",
                    "corpus",
                    "corpus.",
                    ".path",
                    "corpus..path",
                    "corpus.path.x",
                    "corpus.path.0",
                    "=",
                    path.upper(),
                )
            )
            path = rng.choice(
                (
                    path,
                    f"{rng.choice(recipe_paths())}.{path}",
                    "corpus.languages.0",
                    "x." * 3000 + "y",
                    " corpus . path ",
                    "'a'",
                )
            )
        text = f"{path}{rng.choice(('=', '=', '=', '=', '', '==', ' = ', ':'))}{rng.choice(YAML_VALUES)}"
        if rng.random() < 0.1:
            text = change_bytes(rng, text.encode(), b"corpus.path=x").decode("utf-8", "surrogateescape")
        arguments += ["--set", text.replace("\x00", "")[:100_000]]
    if rng.random() < 0.1:
        arguments += [
            "--langs",
            rng.choice(("", "all,en", "en,,no", "../x", "en\n", "x" * 9000, "no", "\udcff", "ALL", " en ", "en,en")),
        ]
    return Case({}, ["distil", f"{TEMPLATE}/tiny.yaml", "--dry-run", "--out", "r", *arguments])


# --- run folders and exports ---


def _manifest(rng: random.Random, template: Path) -> Case:
    run = template / "run"
    if rng.random() < 0.45:
        return _export_case(rng, run)
    names = [*run.glob("*/manifest.json"), *run.glob("soft_labels/*/*"), run / "timings.json", run / "recipe.yaml"]
    names += [path for part in ("teacher", "student") for path in (run / part).iterdir()]
    path = rng.choice([path for path in names if path.is_file() and "export" not in path.parts])
    name = path.relative_to(run).as_posix()
    files = {f"r/{name}": _changed_file(rng, path)}
    sealed = None if path.name == "manifest.json" or path.parent == run else f"r/{path.relative_to(run).parent}"
    commands: tuple[list[str], ...] = (
        ["distil", "r", "--dry-run"],
        ["distil", "r", *RESUMING],
        ["train", "r", *RESUMING],
        ["export", "r", *RESUMING],
        ["export", "r", "--format", "hf,onnx", *RESUMING],
        ["evaluate", "r/student", "--corpus", f"{TEMPLATE}/corpus"],
        ["evaluate", "r/teacher", "--corpus", f"{TEMPLATE}/corpus"],
        ["distil", f"{TEMPLATE}/tiny.yaml", "--from", "r", "--out", "new", "--until", "pseudolabel", *RESUMING],
    )
    command = rng.choice(commands)
    lost: list[str] = []
    if command[0] == "train":
        lost = ["r/student/manifest.json"]
    if command[0] == "export" and rng.random() < 0.7:
        lost = ["r/export/manifest.json"]
    lost = [name for name in lost if name not in files]
    return Case(files, command, (("run", "r"),), sealed if rng.random() < 0.7 else None, True, 30.0, lost)


def _export_case(rng: random.Random, run: Path) -> Case:
    path = rng.choice(
        [run / "export" / "manifest.json"] * 4 + [path for path in (run / "export").rglob("*") if path.is_file()]
    )
    files = {f"e/{path.relative_to(run / 'export').as_posix()}": _changed_file(rng, path)}
    files["f.txt"] = b"Ada lives in London .\n"
    commands: tuple[list[str], ...] = (
        ["tag", "e", "f.txt", "--format", "jsonl"],
        ["tag", "e", "f.txt", "--format", "jsonl", "--precision", "int8"],
        ["evaluate", "e", "--corpus", f"{TEMPLATE}/corpus"],
        ["evaluate", "e", "--corpus", f"{TEMPLATE}/corpus", "--precision", "float32"],
    )
    sealed = "e" if path.name != "manifest.json" and rng.random() < 0.8 else None
    return Case(files, rng.choice(commands), (("run/export", "e"),), sealed)


def _changed_file(rng: random.Random, path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".json" and rng.random() < 0.85:
        return _changed_json(rng, data)
    if path.suffix == ".yaml":
        return _changed(rng, data, change_yaml, data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = change_bytes(rng, data, data)
    if path.suffix == ".npy" and rng.random() < 0.3:
        kinds = (b"<f8", b"|O8", b"|u1", b"<i8", b"|b1")
        data = data.replace(data[data.find(b"'descr': '") + 10 :][:3], rng.choice(kinds), 1)
    return data


def _report(rng: random.Random, template: Path) -> Case:
    run = template / "run"
    if rng.random() < 0.15:
        path = rng.choice(sorted((run / "scores").iterdir()))
        files = {f"r/scores/{path.name}": change_bytes(rng, path.read_bytes(), path.read_bytes())}
    elif rng.random() < 0.1:
        record = {"schema": 1, "stage": "tag", "exports": {"e": published(run)}, "machine": {"threads": 1}, "grid": []}
        files = {"r/bench/tag.json": _changed_json(rng, json.dumps(record).encode(), (0, 1, 2))}
    else:
        files = {"r/report.json": _changed_json(rng, (run / "report.json").read_bytes())}
    commands: tuple[list[str], ...] = (
        ["report", "r"],
        ["report", "r", "--json"],
        ["compare", f"{TEMPLATE}/run", "r"],
        ["compare", "r", f"{TEMPLATE}/run", "--json"],
        ["compare", "r/report.json", f"{TEMPLATE}/run"],
        ["export", "r", *RESUMING],
        ["distil", "r", "--set", "evaluate.bootstrap=21", *RESUMING],
        ["distil", "r", "--dry-run"],
    )
    command = rng.choice(commands)
    lost = ["r/export/manifest.json"] if command[0] == "export" else []
    if command == ["compare", "r/report.json", f"{TEMPLATE}/run"] and "r/report.json" not in files:
        command = ["compare", "r", f"{TEMPLATE}/run"]
    return Case(files, command, (("run", "r"),), writes=command[0] != "compare", limit_s=30.0, lost=lost)


def published(run: Path) -> str:
    """The fingerprint of a run's export."""
    return str(json.loads((run / "export" / "manifest.json").read_text(encoding="utf-8"))["fingerprint"])


_MAKERS: dict[str, Callable[[random.Random, Path], Case]] = {
    "tsv": _columns((".tsv", ".tsv", ".tsv", ".bio", ".txt"), _TSV_SEEDS),
    "conll": _columns((".conll", ".conll", ".conll", ".iob2", ".conllu", ".iob"), _CONLL_SEEDS),
    "jsonl": _jsonl,
    "parquet": _parquet,
    "text": _text,
    "recipe": _recipe,
    "set": _set,
    "manifest": _manifest,
    "report": _report,
}
KINDS = tuple(_MAKERS)
