"""Batches to a model and logits back, without waits of the host for the device in between.

On a CPU everything is computed at once, and nothing here copies.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from xtremedistil_ner.pieces.encoder import PieceBatch
from xtremedistil_ner.pieces.predictor import Logits, QueuedPredictor
from xtremedistil_ner.processes.world import put_on

_TAKE_WHOLE_MASKS = ("bert", "roberta", "xlm-roberta")
"""Families whose code takes a mask of (batch, 1, pieces, pieces) as it is."""


def queued_predictor(compute: Callable[[PieceBatch], Tensor], *, say: Callable[[str], None]) -> QueuedPredictor:
    """A predictor of what `compute` gives: (batch, words, tags) float32. It tells `say` when memory ran out."""

    @torch.inference_mode()
    def begin(batch: PieceBatch) -> Callable[[], Logits]:
        return _copied_back(compute(batch))

    return QueuedPredictor(begin, free=_free, say=say)


def attention_mask(model: nn.Module, batch: PieceBatch, device: torch.device) -> Tensor | None:
    """The mask that hides a batch's padding, as a model takes it.

    From a mask of (batch, pieces) transformers finds out whether there is padding at all: it reads an answer from the
    device, which has to finish all earlier batches first. On a GPU the mask is therefore left out where there is no
    padding, which also allows the flash kernel, and spread over the queries here for families that take it so. On a
    CPU nothing waits; the kernels stay those that earlier versions used, and so do the bytes of their labels.
    """
    if device.type == "cuda" and batch.attention_mask.all():
        return None
    mask = put_on(device, batch.attention_mask)
    config = getattr(model, "config", None)
    takes_whole = getattr(config, "model_type", "") in _TAKE_WHOLE_MASKS
    if device.type == "cuda" and takes_whole and getattr(config, "_attn_implementation", "") == "sdpa":
        return mask.bool()[:, None, None, :].expand(-1, -1, mask.shape[1], -1)
    return mask


def _copied_back(values: Tensor) -> Callable[[], Logits]:
    """A function that waits until a tensor's numbers are on the host; only on a GPU is there anything to wait for."""
    if values.device.type != "cuda":
        return values.numpy
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def take() -> Logits:
        copied.synchronize()
        return host.numpy()

    return take


def _free() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
