"""What stands on the states of our own students, whatever made them: dropout, an optional projection, a classifier."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Head = Literal["projected", "direct"]
"""Whether a projection to the teacher's width stands between the states and the classifier."""


class Dropout(nn.Dropout):
    """torch's dropout; on CPU from 16 random bits a number instead of a draw of its own, a third of the time.

    The rate is exact to 1/65,536. (520 states of 400 numbers, forward and backward, one thread: 0.26 ms for 0.80.)
    """

    def forward(self, values: Tensor) -> Tensor:
        """Values with a share of them zero, the others scaled up; all as they are in evaluation mode. Shapes: any."""
        if not self.training or values.device.type != "cpu" or not 0 < self.p < 1:
            return super().forward(values)
        bits = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        kept = bits[: values.numel()].view(values.shape) >= round(self.p * 2**16) - 2**15
        return values * kept.to(values.dtype).div_(1 - self.p)


def new_head(
    head: Head, *, width: int, representation_width: int, tags: int, with_projection: bool | None
) -> tuple[nn.Linear, nn.Linear | None]:
    """Classifier and projection for states of a width; a direct head has a projection only if it is asked for."""
    is_projected = head == "projected"
    classifier = nn.Linear(representation_width if is_projected else width, tags)
    # drawn last, so that a direct head starts from the same weights with and without it
    projection = nn.Linear(width, representation_width) if is_projected or with_projection else None
    return classifier, projection


def head_layers(projection: nn.Linear | None) -> dict[str, tuple[str, ...]]:
    """Prefixes of the head's parameters, by layer, from the top to the bottom. A CRF goes with the classifier."""
    layers: dict[str, tuple[str, ...]] = {"classifier": ("classifier.", "crf.")}
    return layers if projection is None else {**layers, "projection": ("projection.",)}


def project(hidden: Tensor, projection: nn.Linear | None, dropout: nn.Module) -> Tensor:
    """Student states in the teacher's space, GELU(W h + b), with dropout on h.

    Dropout is here and not in a network's `hidden`, because training asks for the words' states alone: drawing it for
    every piece took an eighth of a training step.

    Shapes: hidden (..., width); result (..., representation_width).
    """
    if projection is None:
        raise ValueError("this student has no projection")
    return nn.functional.gelu(projection(dropout(hidden)))
