"""The convolutional student: piece embeddings, some dilated convolutions with residual sums, and the head of a BiLSTM.

A row's pieces are all computed at once, where a recurrence goes from one to the next. With embeddings of 50, three
convolutions over 5 pieces and a width of 100, it takes 250 kFLOP a piece, where a (50, 200) BiLSTM takes 800, and has
the same F1 (`docs/method.md`). A piece sees `(kernel - 1) * (2**layers - 1) / 2` pieces to each side, and no further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator
from torch import Tensor, nn

from xtremedistil_ner.models.crf import Crf
from xtremedistil_ner.models.head import Head, head_layers, new_head, project
from xtremedistil_ner.models.shape import Share, Size


def _require_odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError("a kernel has an odd number of pieces")
    return kernel


@dataclass(frozen=True, slots=True)
class CnnShape:
    """Sizes of a student. Units: `kernel` in pieces, an odd number; `representation_width` is the teacher's width."""

    vocabulary_size: Size
    embedding_width: Size
    hidden_width: Size
    representation_width: Size
    tags: Size
    layers: Size
    kernel: Annotated[Size, AfterValidator(_require_odd)]
    head: Head
    dropout: Share


class Cnn(nn.Module):
    """A student network. With a direct head the projection exists only while the representation loss needs it.

    A CRF, if it is given one, trains with the network and has no part in its logits.

    Source: Strubell et al. 2017 for dilated convolutions that tag names; residual sums and this head are ours.
    """

    def __init__(self, shape: CnnShape, *, with_projection: bool | None = None, crf: Crf | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = nn.Embedding(shape.vocabulary_size, shape.embedding_width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(
                shape.hidden_width if index else shape.embedding_width,
                shape.hidden_width,
                shape.kernel,
                padding="same",
                dilation=2**index,
            )
            for index in range(shape.layers)
        )
        self.classifier, self.projection = new_head(
            shape.head,
            width=shape.hidden_width,
            representation_width=shape.representation_width,
            tags=shape.tags,
            with_projection=with_projection,
        )
        self.crf = crf
        self.dropout = nn.Dropout(shape.dropout)

    def layers(self) -> dict[str, tuple[str, ...]]:
        """Prefixes of the parameters of each layer, from the top to the bottom."""
        numbers = range(self.shape.layers, 0, -1)
        body = {f"layer {number}": (f"convolutions.{number - 1}.",) for number in numbers}
        return {**head_layers(self.projection), **body, "embeddings": ("embeddings.",)}

    def hidden(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """States of every piece after the last convolution; those of padding mean nothing.

        Padding is set to zero before each convolution, like the positions beyond a row's ends.

        Shapes: input_ids, attention_mask (batch, pieces) int64, padding on the right; result (batch, pieces, hidden).
        """
        states = self.dropout(self.embeddings(input_ids)).transpose(1, 2)
        real = attention_mask.unsqueeze(1).to(states.dtype)
        for index, convolution in enumerate(self.convolutions):
            states = states * real
            activated = convolution(states).relu()
            states = states + activated if index else activated
        result: Tensor = states.transpose(1, 2)
        return result

    def represent(self, hidden: Tensor) -> Tensor:
        """Student states in the teacher's space, as `project` has them.

        Shapes: hidden (..., hidden); result (..., representation_width).
        """
        return project(hidden, self.projection, self.dropout)

    def classify(self, hidden: Tensor) -> Tensor:
        """Logits of states. Shapes: hidden (..., hidden); result (..., tags)."""
        features = self.represent(hidden) if self.shape.head == "projected" else self.dropout(hidden)
        logits: Tensor = self.classifier(features)
        return logits

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of every piece. Shapes: inputs (batch, pieces) int64; result (batch, pieces, tags)."""
        return self.classify(self.hidden(input_ids, attention_mask))
