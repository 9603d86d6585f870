"""The page of the service as static files: the same page, with a tagger that runs in the reader's browser.

onnxruntime-web is no part of this package: the folder of its npm package is given by path, and the three files that a
page needs of it are copied.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.run_folder.whole_files import write_json
from xtremedistil_ner.serve import PAGE
from xtremedistil_ner.tagging.export_reader import language_scores

if TYPE_CHECKING:
    from xtremedistil_ner.models.student import LoadedStudent  # torch is heavy, and fingerprints need `runtime_files`

RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_OWN = Path(__file__).parent / "web"  # takes the place of files of the page
_MOST_CHARACTERS = 100_000  # as the service's


def runtime_files(package: Path) -> list[Path]:
    """What a page needs of onnxruntime-web.

    Raises: UsageError when `package` is not the folder of that npm package.
    """
    files = [package / "dist" / name for name in RUNTIME_FILES]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise UsageError(
            f"{package}: no folder of npm's onnxruntime-web: dist/ lacks {', '.join(missing)}. Run `npm install "
            "onnxruntime-web` and give node_modules/onnxruntime-web."
        )
    return files


def write_web(
    folder: Path,
    graph: Path,
    student: LoadedStudent,
    *,
    tokenizer: Path,
    name: str,
    scores: Mapping[str, Any] | None,
    runtime: Path,
) -> None:
    """Write the page, the model with `tokenizer` and `graph`, and what of `runtime` it needs, into `folder`."""
    shutil.copytree(PAGE, folder)
    shutil.copytree(_OWN, folder, dirs_exist_ok=True)
    (folder / "ort").mkdir()
    for path in runtime_files(runtime):
        shutil.copyfile(path, folder / "ort" / path.name)
    model = folder / "model"
    model.mkdir()
    shutil.copyfile(graph, model / "model.onnx")
    shutil.copyfile(tokenizer, model / "tokenizer.json")
    scheme, transitions = student.scheme, student.transitions
    matrix = None if transitions is None else transitions.tolist()
    write_json(
        model / "model.json",
        {"tags": scheme.tags, "types": scheme.types, "max_pieces": student.max_pieces, "transitions": matrix},
    )
    write_json(
        model / "page.json",
        {
            "name": name,
            "types": scheme.types,
            "synthetic": bool(scores and scores["synthetic"]),
            "languages": language_scores(scores),
            "limits": {"characters": _MOST_CHARACTERS},
        },
    )
