"""The format `web`: what is copied, what is said of the model, what is asked for. Browser tests run the page."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import partial

import pytest
import torch
from recipe.test_reader import MINIMAL, problems_of
from support.tiny_export import make_export
from support.tiny_student import MAX_PIECES, SCHEME, save_tiny_student

from xtremedistil_ner.errors import UsageError
from xtremedistil_ner.export.web_page import RUNTIME_FILES
from xtremedistil_ner.models.crf import Crf
from xtremedistil_ner.pipeline.fingerprints import stage_fingerprints
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.run_folder.stage_table import STAGES
from xtremedistil_ner.serve import PAGE
from xtremedistil_ner.tagging.export_reader import verify_export


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


PLAY_BACK = """
import { readFileSync } from "node:fs";
import { loadTagger } from "./tagger.js";
const logits = JSON.parse(readFileSync("logits.json"));
let next = 0;
const session = { run: async () => ({ logits: { data: Float32Array.from(logits[next++].flat()) } }) };
const ort = { Tensor: class {}, InferenceSession: { create: async () => session } };
const { tag } = await loadTagger({ ort, base: "", read: async (name) => readFileSync(name) });
const found = [];
for (const rows of logits) found.push((await tag(["a ".repeat(rows.length)]))[0]);
process.stdout.write(JSON.stringify(found));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("has_crf", [True, False])
def test_the_browsers_tagger_decodes_and_scores_as_the_vectors_say(tmp_path, runtime, has_crf):
    """The runtime plays back a vector's logits for a text whose every word is one piece."""
    crf = Crf(SCHEME) if has_crf else None
    if crf is not None:
        crf.scores.data[:] = torch.sin(torch.arange(crf.scores.numel()).float()).reshape(crf.scores.shape)
    save = partial(save_tiny_student, crf=crf)
    export = make_export(tmp_path, save=save, formats=("onnx", "web"), onnxruntime_web=runtime)
    for path in (export / "web" / "model").iterdir():
        shutil.copyfile(path, export / "web" / path.name)
    cases = json.loads((export / "decoding_vectors.json").read_text(encoding="utf-8"))["decoding"]
    (export / "web" / "logits.json").write_text(json.dumps([case["logits"] for case in cases]), encoding="utf-8")
    (export / "web" / "play_back.mjs").write_text(PLAY_BACK, encoding="utf-8")
    done = subprocess.run(["node", "play_back.mjs"], cwd=export / "web", capture_output=True, check=True)
    for case, found in zip(cases, json.loads(done.stdout), strict=True):
        assert [
            {
                "type": entity["type"],
                "first": entity["start"] // 2,
                "stop": entity["end"] // 2 + 1,
                "score": entity["score"],
            }
            for entity in found
        ] == [{**entity, "score": pytest.approx(entity["score"], abs=1e-6)} for entity in case["entities"]]
