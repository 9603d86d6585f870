"""The export folder: complete, reproducible, and a card whose every snippet runs."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from support.tiny_student import SCHEME, make_cnn, make_network, make_tokenizer, save_tiny_student
from support.tiny_transformer import SHAPE, save_tiny_transformer

from xtremedistil_ner.errors import ModelError
from xtremedistil_ner.export.folder import write_export
from xtremedistil_ner.export.web_page import RUNTIME_FILES
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.crf import Crf
from xtremedistil_ner.models.student import save_student
from xtremedistil_ner.report.caveats import about_weak_student
from xtremedistil_ner.tagging.export_reader import verify_export

FILES = {
    "CONTRACT.md",
    "README.md",
    "config.json",
    "decoding_vectors.json",
    "model.safetensors",
    "onnx/model.onnx",
    "tokenizer.json",
    "tokenizer_config.json",
}
SCORES = {"precision": 0.5, "recall": 0.25, "f1": 0.75, "support": 3, "f1_low": 0.5, "f1_high": 0.875}
REPORT = {
    "schema": 1,
    "synthetic": True,
    "models": {
        "teacher": {
            "parameters": 4000,
            "macro_f1": 0.9,
            "std_f1": 0.0,
            "languages": {"en": SCORES | {"f1": 0.9}, "no": SCORES | {"f1": 0.9}},
        },
        "student": {"parameters": 1000, "macro_f1": 0.7, "std_f1": 0.05, "languages": {"en": SCORES, "no": SCORES}},
    },
    "retention": {"macro": 0.7778, "languages": {"en": 0.8333, "no": 0.8333}},
    "compression": 4.0,
    "run": {"recipe": {"corpus": {"path": "/home/somebody/secret/wikiann"}}},
}


@pytest.fixture
def student(tmp_path):
    save_tiny_student(tmp_path / "student")
    return tmp_path / "student"


def export(student, target, *, report=REPORT, **options):
    target.mkdir()
    write_export(student, target, report=report, licence="apache-2.0", recipe_name="tiny", **options)
    return target


def test_the_manifest_lists_every_other_file_with_its_size_and_sha256(student, tmp_path):
    target = export(student, tmp_path / "export", fingerprint="abc")
    present = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert present == FILES | {"manifest.json"}
    manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["schema"] == 2
    assert manifest["kind"] == "export"
    assert manifest["fingerprint"] == "abc"
    assert manifest["files"].keys() == FILES
    for name, entry in manifest["files"].items():
        content = (target / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    assert manifest["scores"] == {
        "synthetic": True,
        "macro_f1": 0.7,
        "languages": {"en": 0.75, "no": 0.75},
        "retention": 0.7778,
        "operating_points": {},
    }
    assert verify_export(target) == manifest


def test_the_students_files_are_copied_unchanged(student, tmp_path):
    target = export(student, tmp_path / "export")
    for path in student.iterdir():
        assert (target / path.name).read_bytes() == path.read_bytes()


def test_nothing_else_in_the_students_folder_is_exported(student, tmp_path):
    (student / "manifest.json").write_text("{}", encoding="utf-8")
    (student / "optimizer.bin").write_bytes(b"x")
    target = export(student, tmp_path / "export")
    assert not (target / "optimizer.bin").exists()
    assert verify_export(target)["kind"] == "export"


def test_two_exports_of_one_student_are_the_same_bytes(student, tmp_path):
    first, second = (export(student, tmp_path / name) for name in ("a", "b"))
    for name in FILES | {"manifest.json"}:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_a_broken_student_is_not_exported(student, tmp_path):
    (student / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        export(student, tmp_path / "export")


def test_the_card_is_metadata_that_the_hub_reads(student, tmp_path):
    """`no` is Norwegian, not `false`: YAML 1.1 readers need it quoted."""
    text = (export(student, tmp_path / "export") / "README.md").read_text(encoding="utf-8")
    data = ModelCard(text).data
    assert data.language == ["en", "no"]
    assert data.license == "apache-2.0"
    assert data.pipeline_tag == "token-classification"
    results = {result.dataset_config: result for result in data.eval_results}
    assert results.keys() == {None, "en", "no"}
    assert (results[None].metric_name, results[None].metric_value) == ("macro F1", 0.7)
    assert (results["no"].metric_type, results["no"].metric_value) == ("f1", 0.75)


def test_the_card_names_the_corpus_but_not_where_it_lay(student, tmp_path):
    text = (export(student, tmp_path / "export") / "README.md").read_text(encoding="utf-8")
    assert "name: wikiann" in text
    assert "secret" not in text


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_card_says_which_split_was_scored(student, tmp_path, split):
    report = REPORT | {"run": REPORT["run"] | {"split": split}}
    text = (export(student, tmp_path / "export", report=report) / "README.md").read_text(encoding="utf-8")
    assert f"F1 of whole entities on the {split} split" in text
    assert {result.dataset_split for result in ModelCard(text).data.eval_results} == {split}


def test_no_name_of_a_report_breaks_out_of_the_card(student, tmp_path):
    hostile = "x\n---\n# <script>|[a](b)"
    languages = {hostile: SCORES, f"{hostile}2": SCORES | {"support": 0}}
    models = REPORT["models"] | {"student": REPORT["models"]["student"] | {"languages": languages}}
    run = {"split": hostile, "recipe": {"corpus": {"hub": {"id": hostile}}}}
    target = export(student, tmp_path / "export", report=REPORT | {"models": models, "run": run})
    text = (target / "README.md").read_text(encoding="utf-8")
    assert ModelCard(text).data.language == list(languages)
    body = text.split("\n---\n", maxsplit=1)[1]
    assert not re.search(r"<script|\[a\]\(|^---$|^# <", body, flags=re.MULTILINE)
    assert len([line for line in body.splitlines() if "script" in line]) == 4, "each on a line of its own"


@pytest.mark.parametrize("has_crf", [True, False])
def test_the_card_says_that_a_crf_decodes_in_xner_alone(tmp_path, has_crf):
    save_tiny_student(tmp_path / "student", crf=Crf(SCHEME) if has_crf else None)
    text = (export(tmp_path / "student", tmp_path / "export") / "README.md").read_text(encoding="utf-8")
    assert ("`xner` alone adds its transition scores" in text) is has_crf


def test_the_card_shows_teacher_and_student_side_by_side(student, tmp_path):
    text = (export(student, tmp_path / "export") / "README.md").read_text(encoding="utf-8")
    assert "| Norwegian (no) | 90.00 | 75.00 (50.00–87.50) | 83.33 |" in text
    assert "| parameters | 4,000 | 1,000 |  |" in text
    assert "The student has 4.0x fewer parameters." in text
    assert all(kind in text for kind in SCHEME.types)


@pytest.mark.parametrize("synthetic", [True, False])
def test_the_card_says_when_scores_are_synthetic(student, tmp_path, synthetic):
    target = export(student, tmp_path / "export", report=REPORT | {"synthetic": synthetic})
    assert ("synthetic" in (target / "README.md").read_text(encoding="utf-8").lower()) is synthetic


@pytest.mark.parametrize(
    ("teacher", "own", "bound"),
    [(0.9, 0.002, "below 10"), (0.15, 0.09, "below 10"), (0.9, 0.4, "below half of the teacher's 90.00")],
)
def test_the_card_warns_of_a_weak_student(student, tmp_path, teacher, own, bound):
    scores = {"teacher": teacher, "student": own}
    models = {name: REPORT["models"][name] | {"macro_f1": f1} for name, f1 in scores.items()}
    assert f"{bound}. It is not fit for use" in about_weak_student(models)
    text = (export(student, tmp_path / "export", report=REPORT | {"models": models}) / "README.md").read_text("utf-8")
    assert f"> **{about_weak_student(models)}**" in text


@pytest.mark.parametrize(("teacher", "student"), [(0.9, 0.45), (0.1, 0.1), (0.0, 0.1)])
def test_a_student_of_half_its_teachers_score_is_not_called_weak(teacher, student):
    assert about_weak_student({"teacher": {"macro_f1": teacher}, "student": {"macro_f1": student}}) == ""


def test_names_in_the_card_and_the_contract_are_no_markup(tmp_path):
    scheme = LabelScheme(("<img/src=x>", "a|b", "[c](d)`"))
    save_student(tmp_path / "student", make_network(), make_tokenizer(), scheme, lowercase=False, max_pieces=24)
    languages = {"<img onerror=x>\n| a |": SCORES}
    models = {name: REPORT["models"][name] | {"languages": languages} for name in ("teacher", "student")}
    report = REPORT | {"models": models}
    target = export(tmp_path / "student", tmp_path / "export", report=report, formats=("hf", "triton"))
    card = ModelCard((target / "README.md").read_text(encoding="utf-8"))
    assert card.data.language == list(languages), "YAML quotes it"
    for text in (card.text, *(path.read_text(encoding="utf-8") for path in target.rglob("CONTRACT.md"))):
        assert "&lt;img" in text
        assert "<img" not in text
        assert "[c](d)" not in text


def test_without_a_report_the_card_claims_no_scores(student, tmp_path):
    target = export(student, tmp_path / "export", report=None)
    card = ModelCard((target / "README.md").read_text(encoding="utf-8"))
    assert card.data.eval_results is None
    assert "## Scores" not in card.text
    assert verify_export(target)["scores"] is None


def test_a_report_of_the_student_alone_is_enough(student, tmp_path):
    report = {"synthetic": False, "models": {"student": REPORT["models"]["student"]}}
    text = (export(student, tmp_path / "export", report=report) / "README.md").read_text(encoding="utf-8")
    assert "| English (en) | 75.00 (50.00–87.50) | – |" in text


def test_the_card_of_a_transformer_needs_no_import_of_ours_and_belongs_to_transformers(tmp_path):
    save_tiny_transformer(tmp_path / "student")
    text = (export(tmp_path / "student", tmp_path / "export") / "README.md").read_text(encoding="utf-8")
    assert ModelCard(text).data.library_name == "transformers"
    assert "A BERT: 2 layers of width 12 with 3 heads" in " ".join(text.split())
    assert "xtremedistil_ner.hf" not in text
    assert "LSTM" not in text
    assert not re.search(r"\{[a-z_]+\}", text), "a place in the text was not filled in"


def test_the_card_of_a_bilstm_says_what_to_import(student, tmp_path):
    text = (export(student, tmp_path / "export") / "README.md").read_text(encoding="utf-8")
    assert ModelCard(text).data.library_name == "xtremedistil-ner"
    assert "import xtremedistil_ner.hf" in text
    assert "One bidirectional LSTM" in " ".join(text.split())


def test_the_card_of_a_convolutional_student_says_what_it_is_and_what_to_import(tmp_path):
    save_tiny_student(tmp_path / "student", make=make_cnn)
    text = (export(tmp_path / "student", tmp_path / "export") / "README.md").read_text(encoding="utf-8")
    assert ModelCard(text).data.library_name == "xtremedistil-ner"
    assert "import xtremedistil_ner.hf" in text
    assert "3 layers of width 7, each over 3 pieces" in " ".join(text.split())
    assert "LSTM" not in text


@pytest.mark.parametrize("corpus", [{"hub": {"id": "some-org/names"}, "path": None}, {"path": None}])
def test_the_card_names_a_corpus_without_a_path(student, tmp_path, corpus):
    target = export(student, tmp_path / "export", report=REPORT | {"run": {"recipe": {"corpus": corpus}}})
    name = ModelCard((target / "README.md").read_text(encoding="utf-8")).data.eval_results[0].dataset_name
    assert name == ("some-org/names" if "hub" in corpus else "demo")


@pytest.mark.parametrize("kind", ["bilstm", "cnn", "transformer"])
def test_every_snippet_of_the_card_runs_inside_the_folder(tmp_path, monkeypatch, capsys, kind):
    if kind == "transformer":
        save_tiny_transformer(tmp_path / "student", shape=replace(SHAPE, positions=64))
    else:
        save_tiny_student(tmp_path / "student", **({"make": make_cnn} if kind == "cnn" else {}))
    target = export(tmp_path / "student", tmp_path / "export")
    snippets = re.findall(r"```python\n(.*?)```", (target / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(snippets) == 3  # the fourth is a shell's: test_serve.py runs it
    monkeypatch.chdir(target)
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), {})
        assert capsys.readouterr().out.strip(), f"prints nothing: {snippet}"


@pytest.mark.slow
def test_no_folder_of_an_export_takes_the_place_of_a_package(student, tmp_path):
    """In a new process, because this one has imported transformers already."""
    runtime = tmp_path / "onnxruntime-web"
    (runtime / "dist").mkdir(parents=True)
    for name in RUNTIME_FILES:
        (runtime / "dist" / name).touch()
    target = export(student, tmp_path / "export", formats=("hf", "onnx", "triton", "web"), onnxruntime_web=runtime)
    snippets = re.findall(r"```python\n(.*?)```", (target / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    for snippet in snippets:
        subprocess.run([sys.executable, "-c", snippet], cwd=target, check=True, capture_output=True)


def test_the_card_has_the_verdict_of_a_report(student, tmp_path):
    judged = {"verdict": "do not ship", "reason": "the student falls short in no"}
    rule = {"retention": 0.95, "min_f1": None, "min_entities": 50}
    verdict = {"rule": rule, "whole": judged, "languages": {}, "act_on": []}
    text = (export(student, tmp_path / "export", report={**REPORT, "verdict": verdict}) / "README.md").read_text()
    assert "**DO NOT SHIP: the student falls short in no.** The rule" in text
