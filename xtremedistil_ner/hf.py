"""The students of our own for transformers: importing this module registers them with the Auto classes.

    import xtremedistil_ner.hf
    from transformers import pipeline

    pipeline("token-classification", model="runs/demo/export", aggregation_strategy="first")

A separate import, because transformers takes seconds and the tagging path must not pay for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
    TokenClassificationPipeline,
)
from transformers.modeling_outputs import TokenClassifierOutput
from transformers.pipelines import PIPELINE_REGISTRY

from xtremedistil_ner.models import bilstm, cnn
from xtremedistil_ner.models.bilstm import BiLstm, BiLstmShape
from xtremedistil_ner.models.cnn import Cnn, CnnShape

_IGNORED_LABEL = -100


class _StudentConfig(PreTrainedConfig):
    """Sizes and tags that all students of our own have."""

    attribute_map: ClassVar[dict[str, str]] = {"vocab_size": "vocabulary_size", "hidden_size": "hidden_width"}
    shape_class: ClassVar[Any]

    vocabulary_size: int = 30_000
    embedding_width: int = 50
    hidden_width: int = 200
    representation_width: int = 768
    head: str = "projected"
    dropout: float | int = 0.2
    max_pieces: int = 256
    pad_token_id: int | None = 0

    def shape(self) -> Any:  # noqa: ANN401 - that of the subclass
        """The sizes of the network."""
        sizes = {field.name: getattr(self, field.name) for field in fields(self.shape_class) if field.name != "tags"}
        return self.shape_class(tags=len(self.id2label or ()), **sizes)


class BiLstmConfig(_StudentConfig):
    """Sizes and tags of a BiLSTM student; the defaults are the small student of the papers."""

    model_type = bilstm.MODEL_TYPE
    shape_class = BiLstmShape


class CnnConfig(_StudentConfig):
    """Sizes and tags of a convolutional student; the defaults are those of a recipe."""

    model_type = cnn.MODEL_TYPE
    attribute_map: ClassVar[dict[str, str]] = {**_StudentConfig.attribute_map, "num_hidden_layers": "layers"}
    shape_class = CnnShape

    layers: int = 3
    kernel: int = 5


class _ForTokenClassification(PreTrainedModel):
    """A student of our own behind the interface that transformers' pipelines and trainers expect."""

    main_input_name = "input_ids"
    network_class: ClassVar[Any]

    def __init__(self, config: BiLstmConfig | CnnConfig) -> None:
        super().__init__(config)
        self.network = self.network_class(config.shape())
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,  # noqa: ANN401 - what a tokenizer or a pipeline adds, such as token_type_ids
    ) -> TokenClassifierOutput:
        """Logits of every piece and, with labels, the mean cross-entropy; labels of -100 do not count.

        Shapes: input_ids, attention_mask, labels (batch, pieces) int64, padding on the right; logits
        (batch, pieces, tags).
        """
        return _classify_pieces(self.network, input_ids, attention_mask, labels)

    def _init_weights(self, module: nn.Module) -> None:
        """Torch's own initialisation, as `new_student` has it: the inherited one sets the forget gates' biases to zero.

        Only weights that were not loaded get here or are changed here: transformers guards the functions of
        `torch.nn.init`, which `reset_parameters` uses.
        """
        if isinstance(module, nn.LSTM | nn.Conv1d | nn.Embedding | nn.Linear):
            module.reset_parameters()


class BiLstmForTokenClassification(_ForTokenClassification):
    """A BiLSTM student for transformers."""

    config_class = BiLstmConfig
    network_class = BiLstm


class CnnForTokenClassification(_ForTokenClassification):
    """A convolutional student for transformers."""

    config_class = CnnConfig
    network_class = Cnn


def _classify_pieces(
    network: BiLstm | Cnn, input_ids: Tensor, attention_mask: Tensor | None, labels: Tensor | None
) -> TokenClassifierOutput:
    if attention_mask is None:
        attention_mask = input_ids.new_ones(input_ids.shape)
    if input_ids.numel():
        logits = network(input_ids, attention_mask)
    else:  # a text without pieces, which neither an LSTM nor a convolution takes
        logits = network.classifier.weight.new_zeros(*input_ids.shape, network.shape.tags)
    loss = None
    if labels is not None:
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=_IGNORED_LABEL)
    return TokenClassifierOutput(loss=loss, logits=logits)


class TokenClassificationOfAnyText(TokenClassificationPipeline):
    """transformers' pipeline, which reads a text without a piece alone, but not in one batch with others.

    Of no pieces its tokenizer makes float tensors, and offsets without their last dimension.
    """

    def preprocess(self, *args: Any, **kwargs: Any) -> Iterator[dict[str, Any]]:  # type: ignore[override]  # noqa: ANN401
        """Tensors of each window of a text, of the types and shapes that any other text has."""
        for inputs in super().preprocess(*args, **kwargs):  # type: ignore[no-untyped-call]
            for name, value in inputs.items():
                if isinstance(value, Tensor) and value.numel() == 0:
                    shape = (1, 0, 2) if name == "offset_mapping" else (1, 0)
                    inputs[name] = torch.zeros(shape, dtype=torch.int64)
            yield inputs


PIPELINE_REGISTRY.supported_tasks["token-classification"]["impl"] = TokenClassificationOfAnyText
AutoConfig.register(bilstm.MODEL_TYPE, BiLstmConfig, exist_ok=True)
AutoModelForTokenClassification.register(BiLstmConfig, BiLstmForTokenClassification, exist_ok=True)
AutoConfig.register(cnn.MODEL_TYPE, CnnConfig, exist_ok=True)
AutoModelForTokenClassification.register(CnnConfig, CnnForTokenClassification, exist_ok=True)
