"""bf16 where the processor has it and may use it, float32 elsewhere; what a stage was begun in it goes on in."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xtremedistil_ner.commands.doctor import examine
from xtremedistil_ner.errors import ResourceError
from xtremedistil_ner.evaluation.open_model import open_model
from xtremedistil_ner.models.bilstm import BiLstm, BiLstmShape
from xtremedistil_ner.pipeline.run import run_pipeline
from xtremedistil_ner.processes.cores import bf16_cap, bf16_flags, cpu_bf16
from xtremedistil_ner.processes.precision import (
    autocast,
    dtype_of,
    has_native_bf16,
    note_precision,
    precision_on,
    settle_float32,
)
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.run_folder.files import RunFolder
from xtremedistil_ner.run_folder.soft_labels import open_store
from xtremedistil_ner.run_folder.whole_files import read_json

CPU = torch.device("cpu")
AVX512 = "fpu avx2 avx512f avx512bw avx512_vnni"
STAGES = ("finetune", "pseudolabel", "train")


@pytest.fixture
def old_processor(monkeypatch):
    """A processor with AVX2 and nothing newer, as our own question sees it."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")


@pytest.fixture
def tiny_recipe(finished_run):
    return lambda *overrides: load_recipe(finished_run / "tiny.yaml", overrides=overrides)


@pytest.fixture
def run_copy(finished_run, tmp_path):
    return RunFolder(shutil.copytree(finished_run / "run", tmp_path / "run"))


def pipeline(recipe, run, *, tell=silent, **options):
    return {step.name: step for step in run_pipeline(recipe, run, processes=1, tell=tell, **options).steps}


@pytest.mark.parametrize(
    ("cpuinfo", "found"),
    [
        (f"processor\t: 0\nflags\t\t: {AVX512} avx512_bf16 amx_bf16\n", ["amx_bf16", "avx512_bf16"]),
        (f"flags\t\t: {AVX512} avx512_bf16\n", ["avx512_bf16"]),
        (f"flags\t\t: {AVX512}\n", []),
        ("flags\t\t: fpu avx2 fma\nbugs\t\t: bf16\n", []),
        ("processor\t: 0\nFeatures\t: fp asimd sve i8mm bf16\n", ["bf16"]),
        ("Features\t: fp asimd\n", []),
        ("", []),
    ],
    ids=["AMX", "AVX-512 with bf16", "AVX-512 without", "AVX2", "Arm with", "Arm without", "unknown"],
)
def test_a_processors_flags_say_whether_it_has_bf16(cpuinfo, found):
    assert bf16_flags(cpuinfo) == found


@pytest.mark.parametrize(
    ("name", "value", "is_cap"),
    [
        ("ONEDNN_MAX_CPU_ISA", "AVX2", True),
        ("ONEDNN_MAX_CPU_ISA", "avx512_core_vnni", True),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16", False),
        ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_AMX", False),
        ("ONEDNN_MAX_CPU_ISA", "DEFAULT", False),
        ("DNNL_MAX_CPU_ISA", "SSE41", True),
        ("ATEN_CPU_CAPABILITY", "avx2", True),
        ("ATEN_CPU_CAPABILITY", "default", True),
        ("ATEN_CPU_CAPABILITY", "avx512", False),
        ("OMP_NUM_THREADS", "AVX2", False),
    ],
)
def test_the_caps_of_onednn_and_torch_take_bf16_away(name, value, is_cap, monkeypatch):
    assert bf16_cap({name: value}) == (f"{name}={value}" if is_cap else "")
    monkeypatch.setenv(name, value)
    assert not (is_cap and cpu_bf16())


def test_auto_is_bf16_where_it_is_native_and_float32_elsewhere():
    assert precision_on(CPU, "auto") == ("bf16" if cpu_bf16() else "float32")
    assert precision_on(CPU, "float32") == "float32"
    assert precision_on(torch.device("mps"), "auto") == precision_on(torch.device("meta"), "auto") == "float32"


def test_bf16_is_never_emulated(old_processor):
    assert precision_on(CPU, "bf16") == precision_on(CPU, "auto") == "float32"


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("dry_run", [True, False])
def test_bf16_on_a_device_without_it_is_refused_before_anything_is_written(
    stage, dry_run, tiny_recipe, old_processor, tmp_path
):
    with pytest.raises(ResourceError) as caught:
        pipeline(tiny_recipe(f"{stage}.precision=bf16"), tmp_path / "run", dry_run=dry_run)
    assert f"{stage}.precision: bf16, but ONEDNN_MAX_CPU_ISA=AVX2" in str(caught.value)
    assert "11.7 times" in str(caught.value)
    assert f"--set {stage}.precision=auto" in str(caught.value)
    assert not (tmp_path / "run" / "work").exists()


def test_what_was_finished_on_another_processor_stays_valid(tiny_recipe, run_copy, monkeypatch):
    before = pipeline(tiny_recipe(), run_copy.path, dry_run=True)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    after = pipeline(tiny_recipe(), run_copy.path, dry_run=True)
    assert [step.state for step in after.values()] == ["reused"] * 5
    assert after == before, "the precision named is the one that was taken"


def test_a_run_says_what_each_stage_computed_in(finished_run):
    taken = read_json(finished_run / "run" / "report.json")["run"]["precision"]
    if has_native_bf16(CPU):
        student, teacher = "bf16, LSTM in float32", "teacher in bf16, student in float32"
        assert taken == {"finetune": "bf16", "pseudolabel": "bf16", "train": student, "evaluate": teacher}
    else:
        assert taken == dict.fromkeys((*STAGES, "evaluate"), "float32")
    shown = [line.split(" | ") for line in (finished_run / "run" / "report.md").read_text("utf-8").splitlines()]
    assert {row[0].strip("| "): row[3] for row in shown if row[0].strip("| ") in taken} == taken


def begun_in(precision, recipe, run, stage):
    """Make a finished stage one that was begun in `precision` and is not done."""
    jobs = {"finetune": run.teacher, "pseudolabel": run.teacher, "train": run.student}
    note_precision(run, stage, read_json(jobs[stage] / "manifest.json")["fingerprint"], precision)
    if stage == "pseudolabel":
        (run.soft_labels / "manifest.json").unlink()
    else:
        shutil.rmtree(jobs[stage])


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_begun_in_bf16_does_not_go_on_where_there_is_none(stage, tiny_recipe, run_copy, old_processor):
    begun_in("bf16", tiny_recipe(), run_copy, stage)
    with pytest.raises(ResourceError) as caught:
        pipeline(tiny_recipe(), run_copy.path)
    assert f"{stage} was begun in bf16" in str(caught.value)
    assert "Go on with the same command on a machine that has it" in str(caught.value)
    remedy = f"{stage}.precision=float32"
    assert f"begin the stage anew in float32 with --set {remedy}" in str(caught.value)
    assert pipeline(tiny_recipe(remedy), run_copy.path, dry_run=True)[stage].precision == "float32"


class Halted(Exception):
    """Raised by a reporter to end training in the middle."""


def test_a_stage_begun_in_float32_goes_on_in_it_on_every_processor(tiny_recipe, run_copy, monkeypatch):
    shutil.rmtree(run_copy.student)
    recipe, told = tiny_recipe("train.checkpoint_every_s=0"), []

    def halt(event):
        if event.stage == "train" and event.unit == "updates" and event.done == 2:
            raise Halted

    with pytest.raises(Halted), monkeypatch.context() as patched:
        patched.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
        pipeline(recipe, run_copy.path, until="train", tell=halt)
    step = pipeline(recipe, run_copy.path, until="train", tell=lambda event: told.append(event.message))["train"]
    assert (step.state, step.precision) == ("done", "float32")
    assert any(message.startswith("goes on at update ") for message in told)
    is_told = "computes in float32, in which it was begun; --set train.precision=bf16 begins it anew in bf16" in told
    assert is_told == has_native_bf16(CPU)


def test_shards_labelled_in_float32_are_kept_by_a_run_that_leaves_precision_to_the_machine(
    tiny_recipe, finished_run, tmp_path
):
    run = RunFolder(tmp_path / "run")
    recipe = tiny_recipe("corpus.languages=[en]", "pseudolabel.precision=float32")
    pipeline(recipe, run.path, until="pseudolabel")
    begun_in("float32", recipe, run, "pseudolabel")
    shard = run.soft_labels / "en-00000"
    before = shard.stat().st_ino
    pipeline(tiny_recipe("corpus.languages=[en]"), run.path, until="pseudolabel")
    assert shard.stat().st_ino == before
    assert json.loads(run.begun("pseudolabel").read_text("utf-8"))["precision"] == "float32"


def test_the_lstm_stays_out_of_autocast():
    torch.manual_seed(0)
    network = BiLstm(BiLstmShape(11, 4, 3, 6, 5, "projected", 0.2)).eval()
    ids, mask = torch.arange(1, 9).reshape(2, 4), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    with torch.no_grad():
        expected = network.hidden(ids, mask)
        with autocast(dtype_of("bf16"), CPU):
            found = network.hidden(ids, mask)
            assert network.classify(found).dtype == torch.bfloat16
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_labels_are_the_same_without_torchs_private_operators(tiny_recipe, run_copy, monkeypatch):
    recipe = tiny_recipe("pseudolabel.precision=float32")
    pipeline(recipe, run_copy.path, until="pseudolabel")
    with_them = open_store(run_copy.soft_labels)
    expected = with_them.logits_at(np.arange(with_them.n_words))
    shutil.rmtree(run_copy.soft_labels)
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    pipeline(recipe, run_copy.path, until="pseudolabel")
    found = open_store(run_copy.soft_labels).logits_at(np.arange(with_them.n_words))
    np.testing.assert_allclose(found, expected, atol=2e-3)  # float16


def test_doctor_says_what_auto_is_here_and_why(tmp_path, monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    (finding,) = (finding for finding in examine(tmp_path, 1) if finding.name == "precision")
    if not torch.cuda.is_available():
        assert finding.text == "auto is float32: ONEDNN_MAX_CPU_ISA=AVX2 switches native bf16 off"
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    (finding,) = (finding for finding in examine(tmp_path, 1) if finding.name == "precision")
    assert finding.text.startswith(f"auto is {precision_on(CPU, 'auto')}: ")


def test_float32_is_exact_in_stages_of_float32_and_may_be_tf32_in_stages_of_bf16(tiny_recipe, run_copy):
    """On GPUs; torch by itself takes TF32 for LSTMs and convolutions, and not for other products."""

    def allowed():
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    settle_float32("bf16")
    assert allowed() == (True, True)
    recipe = tiny_recipe("train.precision=float32", "train.updates=3")
    seen = []
    pipeline(recipe, run_copy.path, tell=lambda event: seen.append(allowed()) if event.stage == "train" else None)
    assert seen and seen[-1] == (False, False)
    settle_float32("bf16")
    open_model(run_copy.student)
    assert allowed() == (False, False), "students are scored in float32"
