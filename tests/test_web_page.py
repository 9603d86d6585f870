"""The format `web`: what is copied, what is said of the model, what is asked for. Browser tests run the page."""

from __future__ import annotations

import json
import shutil

import pytest
from test_recipe import MINIMAL, problems_of
from tiny_export import make_export
from tiny_student import MAX_PIECES, SCHEME, save_tiny_student

from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.export.web_page import RUNTIME_FILES
from xtremedistil_ner.exported import verify_export
from xtremedistil_ner.models.crf import Crf
from xtremedistil_ner.recipe import load_recipe
from xtremedistil_ner.serve import PAGE
from xtremedistil_ner.staleness import STAGES, stage_fingerprints


@pytest.fixture
def runtime(tmp_path):
    """A folder laid out as npm's onnxruntime-web."""
    (tmp_path / "ort" / "dist").mkdir(parents=True)
    for name in (*RUNTIME_FILES, "ort.webgpu.min.mjs"):
        (tmp_path / "ort" / "dist" / name).write_text(name, encoding="utf-8")
    return tmp_path / "ort"


def export(folder, runtime, **options):
    return make_export(folder / "web-export", formats=("onnx", "web"), onnxruntime_web=runtime, **options)


def test_the_page_has_the_services_files_a_tagger_of_its_own_and_the_runtime(tmp_path, runtime):
    folder = export(tmp_path, runtime) / "web"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        *(path.name for path in PAGE.iterdir()),
        *("tagger.js", "pieces.js", "words.js"),
        *(f"ort/{name}" for name in RUNTIME_FILES),
        *(f"model/{name}" for name in ("model.json", "model.onnx", "page.json", "tokenizer.json")),
    }
    for name in ("index.html", "page.js", "page.css", "examples.json"):
        assert (folder / name).read_bytes() == (PAGE / name).read_bytes()
    assert "onnxruntime" in (folder / "tagging.js").read_text(encoding="utf-8")
    assert "web/model/model.onnx" in verify_export(folder.parent)["files"]


@pytest.mark.parametrize("has_crf", [True, False])
def test_the_model_file_says_what_the_graph_cannot_tell_a_browser(tmp_path, runtime, has_crf):
    crf = Crf(SCHEME) if has_crf else None
    folder = export(tmp_path, runtime, save=lambda place: save_tiny_student(place, crf=crf)) / "web" / "model"
    model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert (model["tags"], model["types"]) == (list(SCHEME.tags), list(SCHEME.types))
    assert model["max_pieces"] == MAX_PIECES
    assert (model["transitions"] is not None) is has_crf


def test_a_folder_that_is_not_the_package_is_refused(tmp_path, runtime):
    (runtime / "dist" / RUNTIME_FILES[2]).unlink()
    with pytest.raises(UsageError, match=r"dist/ lacks ort-wasm-simd-threaded\.wasm\. Run `npm install"):
        export(tmp_path, runtime)


def test_the_format_and_the_folder_need_each_other():
    expected = ["--set: export: the format web and onnxruntime_web need each other."]
    assert problems_of(MINIMAL, "export.formats=[web]") == expected
    assert problems_of(MINIMAL, "export.onnxruntime_web=somewhere") == expected


def test_another_runtime_exports_again_and_one_that_moved_does_not(finished_run, runtime, tmp_path):
    from xtremedistil_ner.corpus.labelled import open_corpus

    def fingerprints(place):
        overrides = [f"export={{formats: [hf, web], onnxruntime_web: {place}}}"]
        recipe = load_recipe(finished_run / "tiny.yaml", overrides=overrides)
        return stage_fingerprints(recipe, open_corpus(recipe.corpus))

    before = fingerprints(runtime)
    shutil.copytree(runtime, tmp_path / "moved")
    assert fingerprints(tmp_path / "moved") == before
    (tmp_path / "moved" / "dist" / RUNTIME_FILES[0]).write_text("newer", encoding="utf-8")
    after = fingerprints(tmp_path / "moved")
    assert [stage for stage in STAGES if after[stage] != before[stage]] == ["export"]
