"""A model that only predicts: its matrices are cast once, and on a CPU laid out once as oneDNN multiplies them.

Autocast casts every weight again in every forward pass. On a CPU, torch gives float32 products to MKL, whose kernels on
other processors than Intel's do less than half of what the processor can; oneDNN does better, and its layout of a
matrix costs nothing when the weights stay as they are. The products are reached through the operators that torch's own
compiler emits; they are private, and a torch without them leaves the model as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xtremedistil_ner.processes.precision import has_native_bf16

_FAMILIES = ("bert", "distilbert", "electra", "modernbert", "roberta", "xlm-roberta")
"""Families whose code only calls its linear layers and never reads their weights."""
_OPERATORS = ("_reorder_linear_weight", "_linear_pointwise")
_PIECES = 1024
"""The layout is made for this number of pieces at a time; it works with other numbers as well."""


class PackedLinear(nn.Module):
    """A linear layer whose matrix is laid out for oneDNN; its output has the matrix's dtype.

    Shapes: inputs (..., in), outputs (..., out).
    """

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        with torch.no_grad():
            self.matrix: Tensor = torch.ops.mkldnn._reorder_linear_weight(layer.weight.to(dtype), _PIECES)
            self.bias = None if layer.bias is None else layer.bias.to(dtype)

    def forward(self, values: Tensor) -> Tensor:
        """The layer's outputs."""
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            values.to(self.dtype), self.matrix, self.bias, "none", [], ""
        )
        return result


def pack_layers(model: nn.Module, dtype: torch.dtype) -> None:
    """Cast the linear layers of a model, and pack them on a CPU, in the model itself, where that is known to work.

    Elsewhere (another family, a torch or processor without oneDNN's kernels) the model stays as it is. On a GPU a model
    in bf16 still needs autocast, under which its layers compute what they computed before.
    """
    family = getattr(getattr(model, "config", None), "model_type", "")
    on_gpu = next(model.parameters()).device.type == "cuda"
    if family not in _FAMILIES or not (on_gpu or _has_kernels(dtype)):
        return
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is not nn.Linear:
                continue
            if on_gpu:
                layer.to(dtype)
            else:
                setattr(parent, name, PackedLinear(layer, dtype))


def _has_kernels(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available() or not all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS):
        return False
    return dtype == torch.float32 or has_native_bf16(torch.device("cpu"))
