"""The differences between the kinds of students, one value for each kind.

An own kind is a network of ours with piece embeddings and a head as `models/head.py` has it; it has no special pieces,
may have a CRF, and `transformers` loads it after `import xtremedistil_ner.hf`. A stock kind is an architecture of
`transformers`, with its special pieces, its files and its keys. Graph builders are named, not imported: they belong to
`export/`, which imports from here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor
from transformers import BertConfig

from xtremedistil_ner.models.bilstm import BiLstm, BiLstmShape
from xtremedistil_ner.models.cnn import Cnn, CnnShape
from xtremedistil_ner.models.embeddings import reduce_by_svd, reduce_for_layer_norm
from xtremedistil_ner.models.transformer import TransformerShape, TransformerStudent
from xtremedistil_ner.recipe.model_sections import OWN_KINDS, StudentSection

_INTERMEDIATE = 4
"""Width between the two matrices of a layer over the layer's width. Source: Devlin et al. 2019 (BERT), section 3."""
StudentNetwork = BiLstm | Cnn | TransformerStudent
StudentShape = BiLstmShape | CnnShape | TransformerShape


@dataclass(frozen=True, slots=True)
class PassCost:
    """The time of a forward and backward pass beyond its padded pieces; a step's rows are cut into passes by it.

    Units: all in the time of one padded piece: `per_pass` for the pass itself, `per_column` for each position of its
    longest row. With more than `most_pieces` padded pieces in a pass, each takes longer.
    """

    per_pass: int
    per_column: int
    most_pieces: int


@dataclass(frozen=True, slots=True)
class StudentKind:
    """One kind of student.

    `new_shape` takes the recipe's section and `vocabulary_size`, `representation_width` and `tags`. `graph` is the
    function that builds the ONNX graph, as `module:name`. `sentence` is the model card's, over `shape`. `width_field`
    has the width of the piece embeddings in the section, `reduce_embeddings` makes them from the teacher's.
    `float32_part` never computes in bf16.
    """

    name: str
    model_type: str
    architecture: str
    shape: type[Any]
    network: Callable[..., StudentNetwork]
    new_shape: Callable[..., StudentShape]
    graph: str
    sentence: str
    width_field: str = "embedding_width"
    reduce_embeddings: Callable[[Tensor, int], Tensor] = reduce_by_svd
    float32_part: str = ""
    pass_cost_on_cpu: PassCost | None = None

    @property
    def is_own(self) -> bool:
        """Whether the network is ours, and not one of `transformers`."""
        return self.name in OWN_KINDS

    def name_precision(self, precision: str) -> str:
        """The precision in which a student of this kind trains, as text."""
        is_mixed = precision == "bf16" and self.float32_part
        return f"bf16, {self.float32_part} in float32" if is_mixed else precision


def _own_sizes(section: StudentSection) -> dict[str, Any]:
    return {name: getattr(section, name) for name in ("embedding_width", "hidden_width", "head", "dropout")}


def _new_transformer_shape(
    section: StudentSection, *, vocabulary_size: int, representation_width: int, tags: int
) -> TransformerShape:
    """A transformer with random weights has no projection in its shape, and positions for its longest window."""
    return TransformerShape(
        vocabulary_size=vocabulary_size,
        layers=section.transformer.layers,
        hidden_width=section.transformer.hidden_width,
        heads=section.transformer.heads,
        intermediate_width=_INTERMEDIATE * section.transformer.hidden_width,
        positions=section.max_pieces,
        tags=tags,
        dropout=section.dropout,
        attention_dropout=section.dropout,
    )


BILSTM = StudentKind(
    name="bilstm",
    model_type="xner-bilstm",
    architecture="BiLstmForTokenClassification",
    shape=BiLstmShape,
    network=BiLstm,
    new_shape=lambda section, **sizes: BiLstmShape(**sizes, **_own_sizes(section)),
    graph="xtremedistil_ner.export.onnx_bilstm:build_bilstm_graph",
    sentence=(
        "One bidirectional LSTM: {shape.vocabulary_size:,} piece embeddings of width {shape.embedding_width}, "
        "{shape.hidden_width} units per direction."
    ),
    float32_part="LSTM",
    # Fitted to forward and backward passes of (50, 200) on one core: 19 us a piece, 60 us a column, 4 ms a pass; with
    # more than 4,096 pieces a piece took two to three times as long. Half or twice the first two made no difference.
    pass_cost_on_cpu=PassCost(per_pass=200, per_column=3, most_pieces=2048),
)
CNN = StudentKind(
    name="cnn",
    model_type="xner-cnn",
    architecture="CnnForTokenClassification",
    shape=CnnShape,
    network=Cnn,
    new_shape=lambda section, **sizes: CnnShape(**sizes, **_own_sizes(section), **section.cnn.model_dump()),
    graph="xtremedistil_ner.export.onnx_cnn:build_cnn_graph",
    sentence=(
        "A convolutional network: {shape.vocabulary_size:,} piece embeddings of width {shape.embedding_width}, "
        "{shape.layers} layers of width {shape.hidden_width}, each over {shape.kernel} pieces whose distance is "
        "twice that of the layer before."
    ),
)
TRANSFORMER = StudentKind(
    name="transformer",
    model_type="bert",
    architecture="BertForTokenClassification",
    shape=TransformerShape,
    network=TransformerStudent,
    new_shape=_new_transformer_shape,
    graph="xtremedistil_ner.export.onnx_bert:build_student_graph",
    sentence=(
        "A BERT: {shape.layers} layers of width {shape.hidden_width} with {shape.heads} heads, "
        "{shape.vocabulary_size:,} piece embeddings."
    ),
    width_field="transformer.hidden_width",
    reduce_embeddings=partial(reduce_for_layer_norm, spread=BertConfig().initializer_range),
)
KINDS = {kind.name: kind for kind in (BILSTM, CNN, TRANSFORMER)}
KIND_OF_MODEL_TYPE = {kind.model_type: kind for kind in KINDS.values()}
_KIND_OF_CLASS = {cls: kind for kind in KINDS.values() for cls in (kind.network, kind.shape)}


def kind_of(student: StudentNetwork | StudentShape) -> StudentKind:
    """The kind of a network or a shape."""
    return _KIND_OF_CLASS[type(student)]
