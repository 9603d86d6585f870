"""A BERT or RoBERTa for token classification, student or teacher, as an ONNX graph written node by node.

Not by torch's exporters: the one that traces freezes lengths unless told otherwise, the newer one wants another
package, and what either writes changes with every version of torch. The constant parts are folded: every piece is of
segment 0, whose embedding is added to the positions', and the query's weights are scaled in place of the products.
Matrix kernels sum in an order that depends on the batch, so a row's logits agree alone and in a batch within float32,
and not bit for bit as a BiLSTM's do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import nn
from transformers import PreTrainedModel

from xtremedistil_ner.errors import ModelError
from xtremedistil_ner.export.onnx_nodes import (
    Weights,
    gelu_nodes,
    gelu_weights,
    linear_nodes,
    linear_weights,
    make_graph,
    numbers,
)
from xtremedistil_ner.models.transformer import TransformerStudent

GRAPH_FAMILIES = ("bert", "roberta", "xlm-roberta")
_HIDDEN = -1e9
"""Added to the product with a padding piece: far enough below any other for a share of exactly 0, and finite."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """Sizes that the nodes need beside the weights; `first_position` is that of a row's first piece."""

    hidden_width: int
    heads: int
    epsilon: float
    first_position: int


def build_student_graph(network: TransformerStudent, *, metadata: dict[str, str]) -> onnx.ModelProto:
    """The graph of a transformer student; shapes as `build_bert_graph` has them."""
    return build_bert_graph(network.model, metadata=metadata)


def build_bert_graph(model: PreTrainedModel, *, metadata: dict[str, str]) -> onnx.ModelProto:
    """The graph of a token classifier of a family in `GRAPH_FAMILIES`.

    Shapes: input_ids, attention_mask (batch, pieces) int64; logits (batch, pieces, tags) float32, those of padding
    mean nothing.
    Raises: ModelError for another family or activation.
    """
    encoder: Any = model.base_model
    classifier: Any = model.classifier
    shape = _read_shape(model)
    nodes, weights = _input_nodes(shape), _input_weights(encoder.embeddings, shape)
    states = "layer_0"
    for number, layer in enumerate(encoder.encoder.layer, start=1):
        nodes += _attention_nodes(states, f"layer_{number}_attended", f"attention_{number}", shape)
        nodes += _feed_forward_nodes(f"layer_{number}_attended", f"layer_{number}", f"forward_{number}", shape)
        weights |= _layer_weights(layer, number, shape)
        states = f"layer_{number}"
    nodes += linear_nodes(states, "classifier", "logits")
    weights |= linear_weights("classifier", classifier)
    return make_graph(nodes, weights, name="xner-bert", metadata=metadata)


def _read_shape(model: PreTrainedModel) -> _Shape:
    config = model.config
    if config.model_type not in GRAPH_FAMILIES or config.hidden_act != "gelu":
        raise ModelError(
            f"No ONNX graph for a {config.model_type!r} with {getattr(config, 'hidden_act', 'no')!r} activation: "
            f"the graphs are those of {', '.join(GRAPH_FAMILIES)} with 'gelu'. Set pseudolabel.runtime to torch."
        )
    # RoBERTa's positions start behind its padding index
    first_position = 0 if config.model_type == "bert" else int(config.pad_token_id) + 1
    return _Shape(config.hidden_size, config.num_attention_heads, config.layer_norm_eps, first_position)


def _input_nodes(shape: _Shape) -> list[onnx.NodeProto]:
    """From ids to `layer_0`, (batch, pieces, hidden), and from the mask to `hidden_pieces`, (batch, 1, 1, pieces)."""
    return [
        helper.make_node("Shape", ["input_ids"], ["n_pieces"], start=1, end=2),
        helper.make_node("Slice", ["positions", "first", "n_pieces"], ["position_rows"]),
        helper.make_node("Gather", ["embeddings", "input_ids"], ["piece_rows"]),
        helper.make_node("Add", ["piece_rows", "position_rows"], ["summed_rows"]),
        _norm_node("summed_rows", "input_norm", "layer_0", shape),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["one", "mask"], ["padding"]),
        helper.make_node("Mul", ["padding", "hidden_score"], ["padding_scores"]),
        helper.make_node("Unsqueeze", ["padding_scores", "inner_axes"], ["hidden_pieces"]),
    ]


def _attention_nodes(source: str, target: str, name: str, shape: _Shape) -> list[onnx.NodeProto]:
    """Self-attention with its residual and norm. Per head, queries are (pieces, width), keys (width, pieces)."""
    nodes = []
    for part, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
        nodes += linear_nodes(source, f"{name}_{part}", f"{name}_{part}_states")
        nodes += [
            helper.make_node("Reshape", [f"{name}_{part}_states", "split_heads"], [f"{name}_{part}_heads"]),
            helper.make_node("Transpose", [f"{name}_{part}_heads"], [f"{name}_{part}_by_head"], perm=order),
        ]
    return [
        *nodes,
        helper.make_node("MatMul", [f"{name}_query_by_head", f"{name}_key_by_head"], [f"{name}_products"]),
        helper.make_node("Add", [f"{name}_products", "hidden_pieces"], [f"{name}_scores"]),
        helper.make_node("Softmax", [f"{name}_scores"], [f"{name}_shares"], axis=-1),
        helper.make_node("MatMul", [f"{name}_shares", f"{name}_value_by_head"], [f"{name}_mixed"]),
        helper.make_node("Transpose", [f"{name}_mixed"], [f"{name}_by_piece"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", [f"{name}_by_piece", "merge_heads"], [f"{name}_merged"]),
        *linear_nodes(f"{name}_merged", f"{name}_output", f"{name}_output_states"),
        helper.make_node("Add", [f"{name}_output_states", source], [f"{name}_summed"]),
        _norm_node(f"{name}_summed", f"{name}_norm", target, shape),
    ]


def _feed_forward_nodes(source: str, target: str, name: str, shape: _Shape) -> list[onnx.NodeProto]:
    return [
        *linear_nodes(source, f"{name}_inner", f"{name}_inner_states"),
        *gelu_nodes(f"{name}_inner_states", f"{name}_active", prefix=f"{name}_gelu"),
        *linear_nodes(f"{name}_active", f"{name}_output", f"{name}_output_states"),
        helper.make_node("Add", [f"{name}_output_states", source], [f"{name}_summed"]),
        _norm_node(f"{name}_summed", f"{name}_norm", target, shape),
    ]


def _norm_node(source: str, name: str, target: str, shape: _Shape) -> onnx.NodeProto:
    return helper.make_node(
        "LayerNormalization", [source, f"{name}_w", f"{name}_b"], [target], axis=-1, epsilon=shape.epsilon
    )


def _input_weights(embeddings: Any, shape: _Shape) -> Weights:  # noqa: ANN401 - BertEmbeddings
    segment = numbers(embeddings.token_type_embeddings.weight)[0]
    return {
        "embeddings": numbers(embeddings.word_embeddings.weight),
        "positions": numbers(embeddings.position_embeddings.weight)[shape.first_position :] + segment,
        "first": np.array([0], dtype=np.int64),
        "inner_axes": np.array([1, 2], dtype=np.int64),
        "hidden_score": np.array(_HIDDEN, dtype=np.float32),
        "split_heads": np.array([0, 0, shape.heads, shape.hidden_width // shape.heads], dtype=np.int64),
        "merge_heads": np.array([0, 0, shape.hidden_width], dtype=np.int64),
        **gelu_weights(),
        **_norm_weights("input_norm", embeddings.LayerNorm),
    }


def _layer_weights(layer: Any, number: int, shape: _Shape) -> Weights:  # noqa: ANN401 - BertLayer
    attention = layer.attention
    query = linear_weights(f"attention_{number}_query", attention.self.query)
    scale = np.float32((shape.hidden_width // shape.heads) ** -0.5)
    return {
        **{name: np.multiply(value, scale) for name, value in query.items()},
        **linear_weights(f"attention_{number}_key", attention.self.key),
        **linear_weights(f"attention_{number}_value", attention.self.value),
        **linear_weights(f"attention_{number}_output", attention.output.dense),
        **_norm_weights(f"attention_{number}_norm", attention.output.LayerNorm),
        **linear_weights(f"forward_{number}_inner", layer.intermediate.dense),
        **linear_weights(f"forward_{number}_output", layer.output.dense),
        **_norm_weights(f"forward_{number}_norm", layer.output.LayerNorm),
    }


def _norm_weights(name: str, norm: nn.LayerNorm) -> Weights:
    return {f"{name}_w": numbers(norm.weight), f"{name}_b": numbers(norm.bias)}
