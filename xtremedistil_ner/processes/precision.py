"""In which precision a stage computes: bf16 where the device multiplies it natively, float32 elsewhere, float16 never.

Flags decide, not a timing, so that the same machine always answers the same. torch's own test of the CPU
(`_is_mkldnn_bf16_supported`) also accepts an AVX-512 without bf16. Emulation there and on AVX2 is slower than float32:
a fine-tuning step of 16 x 32 pieces took 9.57 s instead of 0.82 s on a two-core EPYC with AVX2.

The precision that a stage begins in is noted beside its unfinished state, and the stage continues in it: a teacher
trained half in bf16 and half in float32 would be neither. Another machine may therefore refuse to continue.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from xtremedistil_ner.errors import ArtefactError, ResourceError
from xtremedistil_ner.processes.cores import bf16_cap, cpu_bf16
from xtremedistil_ner.processes.world import Processes
from xtremedistil_ner.progress import Event, Reporter
from xtremedistil_ner.recipe.schema import Precision, Recipe
from xtremedistil_ner.run_folder.files import MANIFEST, RunFolder
from xtremedistil_ner.run_folder.stage_table import Stage
from xtremedistil_ner.run_folder.whole_files import read_json, write_json

Computed = Literal["bf16", "float32"]
TrainedStage = Literal["finetune", "pseudolabel", "train"]
_EMULATED = "Emulated, it took 11.7 times as long as float32 (fine-tuning on an EPYC with AVX2)."


def best_device() -> torch.device:
    """The device that stages compute on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_native_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bf16 itself; on a CPU by the processor's flags and the caps on them."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(cpu_bf16())


def precision_on(device: torch.device, precision: Precision) -> Computed:
    """What a recipe's precision means on a device, without an earlier choice to keep: never an emulated bf16."""
    return "bf16" if precision != "float32" and has_native_bf16(device) else "float32"


def dtype_of(precision: Computed) -> torch.dtype:
    """The dtype of matrix products."""
    return torch.bfloat16 if precision == "bf16" else torch.float32


def settle_float32(precision: Computed) -> None:
    """Decide for this process what a GPU's products in float32 are: exact, but TF32 in a stage that computes in bf16.

    Torch by itself has TF32 for LSTMs and convolutions alone. TF32 has bf16's range and 10 bits of mantissa instead of
    7; a stage in bf16 loses nothing by it, and a stage in float32 would not be one.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "bf16"


@contextmanager
def autocast(dtype: torch.dtype, device: torch.device) -> Iterator[None]:
    """Run the block's matrix products in `dtype`; float32 leaves them alone."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        yield


def choose_precision(
    recipe: Recipe, run: RunFolder, stage: TrainedStage, fingerprint: str, *, device: torch.device
) -> Computed:
    """What a stage computes in: the recipe's precision, with `auto` the one it was begun in, else the device's.

    Raises: ResourceError for bf16 on a device without it, whether the recipe asks for it or the stage was begun in it.
    """
    asked: Precision = getattr(recipe, stage).precision
    begun = _begun_in(run, stage, fingerprint) if asked == "auto" else None
    if "bf16" in (asked, begun) and not has_native_bf16(device):
        raise ResourceError(_refusal(run, stage, is_begun=begun is not None, device=device))
    return begun or precision_on(device, asked)


def begin_stage(
    recipe: Recipe, run: RunFolder, stage: TrainedStage, fingerprint: str, *, processes: Processes, tell: Reporter
) -> Computed:
    """Choose a stage's precision and note it beside its unfinished state; the main process decides for all.

    From then on this process computes float32 as that precision has it.
    Raises: as `choose_precision`.
    """
    if processes.is_main:
        chosen = choose_precision(recipe, run, stage, fingerprint, device=processes.device)
        anew = precision_on(processes.device, getattr(recipe, stage).precision)
        was_begun = f", in which it was begun; --set {stage}.precision={anew} begins it anew in {anew}"
        tell(Event(stage, f"computes in {chosen}{'' if chosen == anew else was_begun}"))
        note_precision(run, stage, fingerprint, chosen)
    processes.barrier()
    chosen = choose_precision(recipe, run, stage, fingerprint, device=processes.device)
    settle_float32(chosen)
    return chosen


def note_precision(run: RunFolder, stage: TrainedStage, fingerprint: str, precision: str) -> None:
    """Write what a stage is begun in beside its unfinished state."""
    path = run.begun(stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"fingerprint": fingerprint, "precision": precision})


def planned_precision(recipe: Recipe, run: RunFolder, stage: Stage, fingerprint: str) -> str:
    """What a stage will compute in; empty where it computes nothing.

    `fingerprint` is the stage's; for `pseudolabel` it is the teacher's, because finished shards stay valid as long
    as the teacher does.
    Raises: as `choose_precision`.
    """
    device = best_device()
    if stage == "finetune":
        return choose_precision(recipe, run, stage, fingerprint, device=device) if recipe.finetune.epochs else ""
    if stage == "pseudolabel":
        is_int8 = recipe.pseudolabel.runtime == "onnx-int8"
        return "int8" if is_int8 else choose_precision(recipe, run, stage, fingerprint, device=device)
    if stage == "train":
        return choose_precision(recipe, run, stage, fingerprint, device=device)
    if stage == "evaluate":
        return name_scoring_precision(precision_on(device, recipe.pseudolabel.precision))
    return "float32"


def name_scoring_precision(precision: Computed) -> str:
    """The precision of stage `evaluate`: students are scored in float32 always."""
    return "teacher in bf16, student in float32" if precision == "bf16" else precision


def taken_precision(run: RunFolder, stage: Stage) -> str:
    """What a finished stage computed in; empty where its artefact does not say so."""
    if stage == "export":
        return "float32" if run.export.is_dir() else ""
    paths = {
        "finetune": run.teacher / MANIFEST,
        "pseudolabel": run.begun("pseudolabel"),
        "train": run.student / MANIFEST,
        "evaluate": run.report,
    }
    try:
        value = read_json(paths[stage])
        return str(value["run"]["precision"][stage] if stage == "evaluate" else value["precision"])
    except (ArtefactError, KeyError, TypeError):
        return ""


def _begun_in(run: RunFolder, stage: TrainedStage, fingerprint: str) -> Computed | None:
    path = run.begun(stage)
    if not path.is_file():
        return None
    note = read_json(path)
    if note.get("fingerprint") != fingerprint or note.get("precision") not in ("bf16", "float32"):
        return None
    precision: Computed = note["precision"]
    return precision


def describe_device(device: torch.device) -> str:
    """What `precision: auto` is on a device, and why."""
    if not has_native_bf16(device):
        return f"auto is float32: {_why_no_bf16(device)}"
    why = "the GPU has it natively" if device.type == "cuda" else f"the processor has {cpu_bf16()}"
    return f"auto is bf16: {why}"


def _why_no_bf16(device: torch.device) -> str:
    """What keeps a device from multiplying bf16 natively."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} has no native bf16"
    cap = bf16_cap(os.environ)
    return f"{cap} switches native bf16 off" if cap else "this processor has no native bf16 (avx512_bf16, amx_bf16)"


def _refusal(run: RunFolder, stage: TrainedStage, *, is_begun: bool, device: torch.device) -> str:
    why = _why_no_bf16(device)
    if is_begun:
        return (
            f"{run.path}: {stage} was begun in bf16, and {why}. Go on with the same command on a machine that has it, "
            f"or begin the stage anew in float32 with --set {stage}.precision=float32. {_EMULATED}"
        )
    return f"{stage}.precision: bf16, but {why}. {_EMULATED} Take auto or float32: --set {stage}.precision=auto."
