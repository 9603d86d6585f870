"""A student before training: its first weights.

All strategies of a recipe start from the same weights. A student with random layers gets its piece embeddings from
the teacher, reduced by SVD. A student that starts from a BERT, the teacher or a small checkpoint, takes that model's
layers, and its embeddings of the pieces that remain after pruning.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedConfig

from xtremedistil_ner.distillation.strategies import needs_projection
from xtremedistil_ner.errors import RecipeError
from xtremedistil_ner.models.crf import Crf
from xtremedistil_ner.models.embeddings import carry_embeddings
from xtremedistil_ner.models.kinds import KINDS, StudentNetwork
from xtremedistil_ner.models.teacher import Teacher, piece_embeddings, start_teacher
from xtremedistil_ner.models.transformer import (
    TransformerShape,
    TransformerStudent,
    choose_layers,
    shape_of_bert,
    student_of_bert,
)
from xtremedistil_ner.pieces.vocabulary import SPECIAL_PIECES
from xtremedistil_ner.recipe.model_sections import StudentSection
from xtremedistil_ner.recipe.schema import Recipe

_ANY_WINDOW = 8
"""Window of a checkpoint of which only the weights are read."""


def new_student(recipe: Recipe, tokenizer: Tokenizer, teacher: Teacher) -> StudentNetwork:
    """The network that training starts from, its random weights by the recipe's seed.

    Raises: RecipeError for a shape that does not fit the teacher; ModelError for a broken checkpoint.
    """
    ids = tokenizer.get_vocab()
    pieces = sorted(ids, key=ids.__getitem__)
    representation_width = teacher.width if needs_projection(recipe.train.strategy) else None
    torch.manual_seed(recipe.seed)
    if recipe.student.takes_layers:
        return _student_of_bert(recipe, pieces, teacher, representation_width)
    return _new_random(recipe.student, pieces, teacher, representation_width)


def require_width(section: StudentSection, *, teacher_width: int) -> None:
    """Refuse an SVD of embeddings that are too narrow.

    Raises: RecipeError when a student with random layers has wider embeddings than the teacher.
    """
    field = KINDS[section.kind].width_field
    width = attrgetter(field)(section)
    if section.embeddings == "svd" and width > teacher_width:
        raise RecipeError(
            f"student.{field} {width}: an SVD of the teacher's embeddings has at most {teacher_width} columns. "
            "Take fewer, or student.embeddings: random."
        )


def part_of_bert(
    section: StudentSection, config: PreTrainedConfig, *, tags: int
) -> tuple[TransformerShape, tuple[int, ...]]:
    """What a student takes of the teacher or of a checkpoint of its own: the shape, and which layers, from 1.

    Raises: RecipeError for another architecture, for layers that it lacks, and for too long windows; ModelError for
    sizes that a student cannot have.
    """
    start = section.transformer
    is_teacher = start.checkpoint is None
    origin = (
        "student.transformer.start: teacher" if is_teacher else f"student.transformer.checkpoint {start.checkpoint}"
    )
    shape = shape_of_bert(config, origin=origin, tags=tags, max_pieces=section.max_pieces, dropout=section.dropout)
    n_layers = start.layers if is_teacher else shape.layers
    return shape, choose_layers(n_layers, start.teacher_layers, available=shape.layers)


def _new_random(
    section: StudentSection, pieces: Sequence[str], teacher: Teacher, representation_width: int | None
) -> StudentNetwork:
    """A student with random layers."""
    kind = KINDS[section.kind]
    require_width(section, teacher_width=teacher.embedding_width)
    shape = kind.new_shape(
        section, vocabulary_size=len(pieces), representation_width=teacher.width, tags=len(teacher.scheme.tags)
    )
    if kind.is_own:
        crf = Crf(teacher.scheme) if section.crf else None
        network = kind.network(shape, with_projection=representation_width is not None, crf=crf)
    else:
        network = kind.network(shape, representation_width=representation_width)
    if section.embeddings == "svd":
        carried = carry_embeddings(pieces, teacher.encoder.tokenizer, piece_embeddings(teacher))
        with torch.no_grad():
            network.embeddings.weight.copy_(kind.reduce_embeddings(carried, network.embeddings.embedding_dim))
    return network


def _student_of_bert(
    recipe: Recipe, pieces: Sequence[str], teacher: Teacher, representation_width: int | None
) -> TransformerStudent:
    """A student that is a small checkpoint, or some of a teacher's layers, under a new classifier."""
    start, source = recipe.student.transformer, teacher
    if start.checkpoint is not None:
        source = start_teacher(
            start.checkpoint, teacher.scheme, max_pieces=_ANY_WINDOW, seed=recipe.seed, revision=start.revision
        )
    shape, layers = part_of_bert(recipe.student, source.model.config, tags=len(teacher.scheme.tags))
    return student_of_bert(
        source.model,
        shape,
        layers=layers,
        embeddings=_carried_with_special_rows(pieces, source),
        representation_width=representation_width,
    )


def _carried_with_special_rows(pieces: Sequence[str], source: Teacher) -> Tensor:
    """Rows of a BERT for a student's pieces; special pieces such as [UNK] and [CLS] mean the same in both.

    Shapes: result (pieces, width) float32.
    """
    embeddings = piece_embeddings(source)
    carried = carry_embeddings(pieces, source.encoder.tokenizer, embeddings)
    known = source.encoder.tokenizer.get_vocab()
    shared = [(index, known[piece]) for index, piece in enumerate(pieces) if piece in SPECIAL_PIECES and piece in known]
    for index, row in shared:
        carried[index] = embeddings[row]
    return carried
