"""Piece 1: the device, what autocast makes of an LSTM, and whether a step repeats byte by byte."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel

from benchmarks.gpu.record import Place, Record
from xtremedistil_ner.models.kinds import KINDS
from xtremedistil_ner.processes.precision import autocast, describe_device, has_native_bf16
from xtremedistil_ner.recipe.schema import StudentSection

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def probe(place: Place, record: Record) -> None:
    """Everything of piece 1."""
    device = torch.device(place.device)
    record.add(what="bf16", found=describe_device(device))
    for dtype in (torch.bfloat16, torch.float32) if has_native_bf16(device) else (torch.float32,):
        peak = peak_flops(device, dtype) / 1e12
        record.add(what=f"matrix product of {_side(device)}, {dtype}", found=peak, unit="TFLOP/s")
    for dtype in _DTYPES:
        with record.guarded(what=f"nn.LSTM (50, 200) under autocast of {dtype}"):
            record.add(what=f"nn.LSTM (50, 200) under autocast of {dtype}", found=_lstm(device, dtype))
    with record.guarded(what="the student's LSTM in bf16"):
        record.add(what="the student's LSTM in bf16", found=_student(device))
    for deterministic in (False, True):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            for name, found in pool.submit(_repeats, place.device, deterministic).result():
                mode = "deterministic algorithms" if deterministic else "as the product computes"
                record.add(what=f"the same step twice: {name}, {mode}", found=found)


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product, which stand for the device's peak: the median of five."""
    side = _side(device)
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(8):
        synchronize()
        begin = time.perf_counter()
        left @ right
        synchronize()
        seconds.append(time.perf_counter() - begin)
    return 2 * side**3 / statistics.median(seconds[3:])


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _side(device: torch.device) -> int:
    return 8192 if device.type == "cuda" else 512


def _lstm(device: torch.device, dtype: torch.dtype) -> str:
    """What the outputs are, and which share of the gates' gradients is lost against float32."""
    torch.manual_seed(0)
    lstm = nn.LSTM(50, 200, batch_first=True).to(device)
    inputs, targets = torch.randn(64, 24, 50, device=device), torch.randn(64, 24, 200, device=device)

    def gradients(wanted: torch.dtype) -> tuple[Tensor, torch.dtype]:
        lstm.zero_grad()
        with torch.autocast(device.type, dtype=wanted, enabled=wanted != torch.float32):
            outputs, _ = lstm(inputs)
        ((outputs.float() - targets) ** 2).sum().div(512 * 24).backward()
        return torch.cat([parameter.grad.flatten() for parameter in lstm.parameters()]), outputs.dtype

    exact, _ = gradients(torch.float32)
    found, output_dtype = gradients(dtype)
    lost = ((found == 0) & (exact != 0)).float().mean().item()
    error = ((found - exact).norm() / exact.norm()).item()
    return f"outputs {output_dtype}, {lost:.1%} of gradients become 0, relative error {error:.1e}"


def _student(device: torch.device) -> str:
    network = _network("bilstm").to(device)
    seen = []
    network.forward_lstm.register_forward_hook(lambda _module, _inputs, outputs: seen.append(outputs[0].dtype))
    ids, mask = _batch(device)
    with autocast(torch.bfloat16, device):
        logits = network(ids, mask)
    return f"states {seen[0]}, logits {logits.dtype}"


def _network(kind: str) -> nn.Module:
    torch.manual_seed(0)
    found = KINDS[kind]
    shape = found.new_shape(StudentSection(), vocabulary_size=1000, representation_width=64, tags=7)
    return found.network(shape)


def _batch(device: torch.device) -> tuple[Tensor, Tensor]:
    """Some rows of different lengths; pieces repeat, as in text. Shapes: (64, 24) int64 both."""
    ids = torch.randint(0, 1000, (64, 24), generator=torch.Generator().manual_seed(0)) % 97
    mask = (torch.arange(24)[None, :] < torch.randint(4, 25, (64, 1), generator=torch.manual_seed(0))).long()
    return ids.to(device), mask.to(device)


def _repeats(device: str, deterministic: bool) -> list[tuple[str, str]]:
    """Whether the gradients of each network have the same bytes in a second step. Runs in a process of its own."""
    if deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True)
    place = torch.device(device)
    dtype = torch.bfloat16 if has_native_bf16(place) else torch.float32
    found = []
    for name, network in _networks():
        try:
            hashes = {_step(network().to(place).train(), dtype, place) for _ in range(3)}
            found.append((name, "same bytes" if len(hashes) == 1 else f"{len(hashes)} results of 3"))
        except Exception as error:
            found.append((name, f"{type(error).__name__}: {error}".partition("\n")[0][:200]))
    return found


def _networks() -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    sizes = {"vocab_size": 1000, "hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
    for attention in ("sdpa", "eager"):
        config = BertConfig(**sizes, intermediate_size=1024, attn_implementation=attention)
        yield f"BERT, {attention}", lambda config=config: BertModel(config, add_pooling_layer=False)
    special = dict.fromkeys(("pad_token_id", "cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id"), 0)
    modern = ModernBertConfig(**sizes, **special, intermediate_size=512, attn_implementation="eager")
    yield "ModernBERT, eager", lambda: ModernBertModel(modern)
    for kind in ("bilstm", "cnn", "transformer"):
        yield f"student, {kind}", lambda kind=kind: _network(kind)


def _step(network: nn.Module, dtype: torch.dtype, device: torch.device) -> str:
    ids, mask = _batch(device)
    torch.manual_seed(1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.05)
    with autocast(dtype, device):
        outputs = network(ids, mask)
    outputs = outputs if isinstance(outputs, Tensor) else outputs.last_hidden_state
    outputs.float().square().mean().backward()
    digest = hashlib.sha256()
    for parameter in network.parameters():
        if parameter.grad is not None:
            digest.update(parameter.grad.cpu().numpy().tobytes())
    return digest.hexdigest()
