"""Broken recipes, settings, manifests, reports, and other files of run folders and exports."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path

from pydantic import BaseModel
from stress.cases import RESUMING, TEMPLATE, Case, changed, changed_json
from stress.mutators import change_bytes, change_yaml
from stress.values import ALIAS_BOMB, YAML_VALUES
from support.tiny_run import RECIPE

from xtremedistil_ner.recipe.schema import Recipe

_RECIPE_SEEDS = (
    RECIPE.format(corpus=f"{TEMPLATE}/corpus"),
    "name: demo\ncorpus: {path: demo, languages: [no, en]}\nteacher:\n  checkpoint: ../template/run/teacher\n"
    "  labels: {B-LOC: B-LOC}\nfinetune: {epochs: 0}\ntransfer:\n  path: ../template/corpus\n  languages: [en]\n"
    "export:\n  formats: [hf, onnx]\n  licence: mit\n",
    "seed: 3\ncorpus:\n  hub: {id: a/b, tag_names: [O, B-X, I-X]}\nstudent:\n  kind: transformer\n  transformer:\n"
    "    start: teacher\n    teacher_layers: [1]\ntrain: {strategy: D1, loss_weights: {labels: 2.0}}\n",
)


def recipe(rng: random.Random, template: Path) -> Case:
    text = rng.choice(_RECIPE_SEEDS)
    if rng.random() < 0.25:
        path, value = rng.choice(recipe_paths()), rng.choice(YAML_VALUES)
        lines = [f"{'  ' * depth}{key}:" for depth, key in enumerate(path.split("."))]
        text = "\n".join([*lines[:-1], f"{lines[-1]} {value}"]) + "\n"
    if rng.random() < 0.03:
        text = f"{ALIAS_BOMB}\n{text}"
    data = changed(rng, text.encode(), change_yaml, rng.choice(_RECIPE_SEEDS).encode())
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


def settings(rng: random.Random, template: Path) -> Case:
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


def manifest(rng: random.Random, template: Path) -> Case:
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
        return changed_json(rng, data)
    if path.suffix == ".yaml":
        return changed(rng, data, change_yaml, data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = change_bytes(rng, data, data)
    if path.suffix == ".npy" and rng.random() < 0.3:
        kinds = (b"<f8", b"|O8", b"|u1", b"<i8", b"|b1")
        data = data.replace(data[data.find(b"'descr': '") + 10 :][:3], rng.choice(kinds), 1)
    return data


def report(rng: random.Random, template: Path) -> Case:
    run = template / "run"
    if rng.random() < 0.15:
        path = rng.choice(sorted((run / "scores").iterdir()))
        files = {f"r/scores/{path.name}": change_bytes(rng, path.read_bytes(), path.read_bytes())}
    elif rng.random() < 0.1:
        record = {"schema": 1, "stage": "tag", "exports": {"e": published(run)}, "machine": {"threads": 1}, "grid": []}
        files = {"r/bench/tag.json": changed_json(rng, json.dumps(record).encode(), (0, 1, 2))}
    else:
        files = {"r/report.json": changed_json(rng, (run / "report.json").read_bytes())}
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
