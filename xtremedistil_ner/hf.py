"""The students of our own for transformers: importing this module registers them with the Auto classes.

    import xtremedistil_ner.hf
    from transformers import pipeline

    pipeline("token-classification", model="runs/demo/export", aggregation_strategy="first")

A separate import, because transformers takes seconds and the tagging path must not pay for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

from xtremedistil_ner.models.kinds import KINDS, StudentKind
from xtremedistil_ner.models.shape import shape_values
from xtremedistil_ner.models.student_config import read_network
from xtremedistil_ner.recipe.model_sections import StudentSection

_IGNORED_LABEL = -100
_THEIR_NAMES = {"vocab_size": "vocabulary_size", "hidden_size": "hidden_width", "num_hidden_layers": "layers"}


class StudentForTokenClassification(PreTrainedModel):
    """A student behind the interface that transformers' pipelines and trainers expect; each kind has a class of it."""

    main_input_name = "input_ids"

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        path = Path(config.name_or_path or "") / "config.json"
        self.network = read_network(config.to_dict(), len(config.id2label or ()), path)
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
        if attention_mask is None:
            attention_mask = input_ids.new_ones(input_ids.shape)
        if input_ids.numel():
            logits = self.network(input_ids, attention_mask)
        else:  # a text without pieces, which neither an LSTM nor a convolution takes
            weight = self.network.embeddings.weight
            logits = weight.new_zeros(*input_ids.shape, self.network.shape.tags)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=_IGNORED_LABEL)
        return TokenClassifierOutput(loss=loss, logits=logits)

    def _init_weights(self, module: nn.Module) -> None:
        """Torch's own initialisation, as a new student has it: the inherited one sets an LSTM's biases to zero.

        Only weights that were not loaded get here or are changed here: transformers guards the functions of
        `torch.nn.init`, which `reset_parameters` uses.
        """
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()


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


def _register(kind: StudentKind) -> None:
    """Make a kind's configuration, whose defaults are a recipe's, and its model; both are names of this module."""
    section = StudentSection()
    shape = kind.new_shape(section, vocabulary_size=section.vocabulary_size, representation_width=768, tags=1)
    sizes = {name: value for name, value in shape_values(shape).items() if name != "tags"}
    types = {name: float | int if isinstance(value, float) else type(value) for name, value in sizes.items()}
    config = type(
        kind.architecture.replace("ForTokenClassification", "Config"),
        (PreTrainedConfig,),
        {
            "__module__": __name__,
            "__doc__": f"Sizes and tags of a {kind.name} student.",
            "__annotations__": {**types, "max_pieces": int, "pad_token_id": int | None},
            "model_type": kind.model_type,
            "attribute_map": {theirs: ours for theirs, ours in _THEIR_NAMES.items() if ours in sizes},
            **sizes,
            "max_pieces": section.max_pieces,
            "pad_token_id": 0,
        },
    )
    model = type(kind.architecture, (StudentForTokenClassification,), {"__module__": __name__, "config_class": config})
    globals().update({cls.__name__: cls for cls in (config, model)})
    AutoConfig.register(kind.model_type, config, exist_ok=True)
    AutoModelForTokenClassification.register(config, model, exist_ok=True)


PIPELINE_REGISTRY.supported_tasks["token-classification"]["impl"] = TokenClassificationOfAnyText
for _kind in KINDS.values():
    if _kind.is_own:
        _register(_kind)
