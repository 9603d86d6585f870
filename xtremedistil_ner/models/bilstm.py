"""The BiLSTM student of the papers: piece embeddings, one bidirectional LSTM, an optional projection, a classifier.

The two directions are two plain LSTMs, the second one over reversed rows: torch's packed sequences leave the
fused kernels on CPU (measured at (50, 200), batch 256 x 24: 321 ms a training step packed, 85 ms like this), and
padding stays outside either way, because it only ever follows a row's last piece.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xtremedistil_ner.models.crf import Crf
from xtremedistil_ner.models.head import Head, head_layers, new_head, project
from xtremedistil_ner.models.shape import Share, Size


@dataclass(frozen=True, slots=True)
class BiLstmShape:
    """Sizes of a student. Units: `hidden_width` per direction; `representation_width` is the teacher's width."""

    vocabulary_size: Size
    embedding_width: Size
    hidden_width: Size
    representation_width: Size
    tags: Size
    head: Head
    dropout: Share


class BiLstm(nn.Module):
    """A student network. With a direct head the projection exists only while the representation loss needs it.

    A CRF, if it is given one, trains with the network and has no part in its logits.

    Source: Mukherjee & Awadallah 2020 (XtremeDistil); the direct head leaves out the projection.
    """

    def __init__(self, shape: BiLstmShape, *, with_projection: bool | None = None, crf: Crf | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = nn.Embedding(shape.vocabulary_size, shape.embedding_width)
        self.forward_lstm = nn.LSTM(shape.embedding_width, shape.hidden_width, batch_first=True)
        self.backward_lstm = nn.LSTM(shape.embedding_width, shape.hidden_width, batch_first=True)
        self.classifier, self.projection = new_head(
            shape.head,
            width=2 * shape.hidden_width,
            representation_width=shape.representation_width,
            tags=shape.tags,
            with_projection=with_projection,
        )
        self.crf = crf
        self.dropout = nn.Dropout(shape.dropout)

    def layers(self) -> dict[str, tuple[str, ...]]:
        """Prefixes of the parameters of each layer, from the top to the bottom."""
        body = {"lstm": ("forward_lstm.", "backward_lstm."), "embeddings": ("embeddings.",)}
        return {**head_layers(self.projection), **body}

    def hidden(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """LSTM states of every piece; those of padding mean nothing.

        Shapes: input_ids, attention_mask (batch, pieces) int64, padding on the right;
        result (batch, pieces, 2 * hidden).
        """
        embedded = self.dropout(self.embeddings(input_ids))
        position = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
        mirrored = attention_mask.sum(dim=1, keepdim=True) - 1 - position
        mirrored = torch.where(mirrored >= 0, mirrored, position).unsqueeze(-1)
        reversed_rows = embedded.gather(1, mirrored.expand_as(embedded))
        with torch.autocast(embedded.device.type, enabled=False):
            forward_states, _ = self.forward_lstm(embedded)
            backward_states, _ = self.backward_lstm(reversed_rows)
        backward_states = backward_states.gather(1, mirrored.expand_as(backward_states))
        return torch.cat([forward_states, backward_states], dim=-1)

    def represent(self, hidden: Tensor) -> Tensor:
        """Student states in the teacher's space, as `project` has them.

        Shapes: hidden (..., 2 * hidden); result (..., representation_width).
        """
        return project(hidden, self.projection, self.dropout)

    def classify(self, hidden: Tensor) -> Tensor:
        """Logits of LSTM states. Shapes: hidden (..., 2 * hidden); result (..., tags)."""
        features = self.represent(hidden) if self.shape.head == "projected" else self.dropout(hidden)
        logits: Tensor = self.classifier(features)
        return logits

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of every piece. Shapes: inputs (batch, pieces) int64; result (batch, pieces, tags)."""
        return self.classify(self.hidden(input_ids, attention_mask))
