"""The BiLSTM student for transformers: importing this module registers it with the Auto classes.

    import xtremedistil_ner.hf
    from transformers import pipeline

    pipeline("token-classification", model="runs/demo/export", aggregation_strategy="first")

A separate import, because transformers takes seconds and the tagging path must not pay for it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForTokenClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

from xtremedistil_ner.models.bilstm import BiLstm, BiLstmShape
from xtremedistil_ner.models.student_config import MODEL_TYPE

_IGNORED_LABEL = -100


class BiLstmConfig(PreTrainedConfig):
    """Sizes and tags of a BiLSTM student; the defaults are the small student of the papers."""

    model_type = MODEL_TYPE
    attribute_map: ClassVar[dict[str, str]] = {"vocab_size": "vocabulary_size", "hidden_size": "hidden_width"}

    vocabulary_size: int = 30_000
    embedding_width: int = 50
    hidden_width: int = 200
    representation_width: int = 768
    head: str = "projected"
    dropout: float | int = 0.2
    max_pieces: int = 256
    pad_token_id: int | None = 0

    def shape(self) -> BiLstmShape:
        """The sizes of the network."""
        return BiLstmShape(
            vocabulary_size=self.vocabulary_size,
            embedding_width=self.embedding_width,
            hidden_width=self.hidden_width,
            representation_width=self.representation_width,
            tags=len(self.id2label or ()),
            head="direct" if self.head == "direct" else "projected",
            dropout=self.dropout,
        )


class BiLstmForTokenClassification(PreTrainedModel):
    """A BiLSTM student behind the interface that transformers' pipelines and trainers expect."""

    config_class = BiLstmConfig
    main_input_name = "input_ids"

    def __init__(self, config: BiLstmConfig) -> None:
        super().__init__(config)
        self.network = BiLstm(config.shape())
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
        logits = self.network(input_ids, attention_mask)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=_IGNORED_LABEL)
        return TokenClassifierOutput(loss=loss, logits=logits)

    def _init_weights(self, module: nn.Module) -> None:
        """Torch's own initialisation: the inherited one sets the forget gates' biases to zero.

        Only weights that were not loaded get here or are changed here: transformers guards the functions of
        `torch.nn.init`, which `reset_parameters` uses.
        """
        if isinstance(module, nn.LSTM | nn.Embedding | nn.Linear):
            module.reset_parameters()


AutoConfig.register(MODEL_TYPE, BiLstmConfig, exist_ok=True)
AutoModelForTokenClassification.register(BiLstmConfig, BiLstmForTokenClassification, exist_ok=True)
