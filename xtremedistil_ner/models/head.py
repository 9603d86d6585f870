"""The head of our own students, over states of any kind: dropout, an optional projection, a classifier."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

Head = Literal["projected", "direct"]
"""Whether there is a projection to the teacher's width between the states and the classifier."""


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
