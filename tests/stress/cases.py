"""What an input is: files, what is copied of the template before them, and the command that reads them.

A command works in a folder of its own, beside `template` (a corpus, its recipe and its finished run) and `canary`,
which nothing may touch. Paths are relative, so that an input that was kept can be tried again by hand.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stress.mutators import change_bytes, change_json, dump_json
from support.tiny_run import RECIPE, write_corpus

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
    limit_s: float = 20.0
    lost: Sequence[str] = ()

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
        from xtremedistil_ner.pipeline.run import run_pipeline
        from xtremedistil_ner.progress import silent
        from xtremedistil_ner.recipe.reader import load_recipe

        recipe = load_recipe(template / "tiny.yaml", overrides=[f"corpus.path={template / 'corpus'}"])
        run_pipeline(recipe, template / "run", processes=1, tell=silent)
    else:
        shutil.copytree(finished, template / "run")
    recipe_file = template / "run" / "recipe.yaml"
    text = recipe_file.read_text(encoding="utf-8")
    lines = [f"  path: {TEMPLATE}/corpus" if line.startswith("  path: /") else line for line in text.splitlines()]
    recipe_file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def changed(rng: random.Random, data: bytes, change: Callable[[random.Random, str], str], other: bytes) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 3))):
        if rng.random() < 0.3:
            data = change_bytes(rng, data, other)
        else:
            data = change(rng, data.decode("utf-8", "replace")).encode("utf-8", "replace")
    return data


def changed_json(rng: random.Random, data: bytes, times: Sequence[int] = (1, 1, 2, 3)) -> bytes:
    value = json.loads(data)
    for _ in range(rng.choice(times)):
        value = change_json(rng, value)
    text = dump_json(value).encode("utf-8", "surrogatepass")
    return change_bytes(rng, text, data) if rng.random() < 0.15 else text
