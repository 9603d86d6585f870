"""A student before training: its vocabulary, and its first weights.

All strategies of a recipe start from the same weights. A student with random layers gets its piece embeddings from
the teacher, reduced by SVD; one that starts from a BERT, be it the teacher or a small checkpoint, takes that one's
layers and its rows for the pieces that are left after pruning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer, models
from torch import Tensor

from xtremedistil_ner.corpus.labelled import LabelledCorpus
from xtremedistil_ner.errors import RecipeError
from xtremedistil_ner.models.bilstm import BiLstm, BiLstmShape
from xtremedistil_ner.models.crf import Crf
from xtremedistil_ner.models.embeddings import carry_embeddings, reduce_by_svd, reduce_for_layer_norm
from xtremedistil_ner.models.student_config import StudentNetwork
from xtremedistil_ner.models.teacher import Teacher, load_tokenizer, piece_embeddings, start_teacher
from xtremedistil_ner.models.transformer_student import (
    TransformerStudent,
    choose_layers,
    scratch_shape,
    shape_of_bert,
    student_of_bert,
)
from xtremedistil_ner.rundir import publish, published_fingerprint
from xtremedistil_ner.schema import Recipe, StudentSection
from xtremedistil_ner.soft_labels import SoftLabelStore
from xtremedistil_ner.training.processes import Processes
from xtremedistil_ner.training.strategies import needs_projection
from xtremedistil_ner.vocabulary import (
    SPECIAL_PIECES,
    TRAINED,
    prune_vocabulary,
    read_vocabulary,
    train_vocabulary,
    wordpiece_tokenizer,
)

_ANY_WINDOW = 8
"""Window of a checkpoint that is only taken apart."""


def student_tokenizer(
    recipe: Recipe,
    corpus: LabelledCorpus,
    store: SoftLabelStore,
    teacher: Teacher,
    *,
    work: Path,
    wanted: str,
    processes: Processes,
) -> tuple[Tokenizer, bool]:
    """The student's tokenizer and whether it lower-cases. Learnt and pruned once, by the main process.

    Raises: RecipeError when the student has no WordPiece vocabulary to start from.
    """
    section = recipe.student
    vocabulary, lowercase = _given_vocabulary(section, teacher)
    if vocabulary is None or section.prune_vocabulary:
        path = work / "vocabulary" / "vocab.txt"
        if processes.is_main and published_fingerprint(path.parent) != wanted:
            if vocabulary is None:
                vocabulary = train_vocabulary(
                    lambda: _all_text(corpus, store), size=section.vocabulary_size, lowercase=lowercase
                )
            if section.prune_vocabulary:
                vocabulary = prune_vocabulary(
                    vocabulary, _all_text(corpus, store), lowercase=lowercase, min_count=section.min_piece_count
                )
            with publish(path.parent, {"fingerprint": wanted}) as folder:
                (folder / path.name).write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
        processes.barrier()
        vocabulary = read_vocabulary(path)
    special_rows = section.kind == "transformer"
    return wordpiece_tokenizer(vocabulary, lowercase=lowercase, special_rows=special_rows), lowercase


def new_student(recipe: Recipe, tokenizer: Tokenizer, teacher: Teacher) -> StudentNetwork:
    """The network that training starts from, its random weights by the recipe's seed.

    Raises: RecipeError for a shape that does not go with the teacher; ModelError for a broken checkpoint.
    """
    ids = tokenizer.get_vocab()
    pieces = sorted(ids, key=ids.__getitem__)
    representation_width = teacher.width if needs_projection(recipe.train.strategy) else None
    torch.manual_seed(recipe.seed)
    if recipe.student.kind == "bilstm":
        return _new_bilstm(recipe.student, pieces, teacher, with_projection=representation_width is not None)
    if recipe.student.transformer.start == "scratch":
        return _new_transformer(recipe.student, pieces, teacher, representation_width)
    return _part_of_bert(recipe, pieces, teacher, representation_width)


def _given_vocabulary(section: StudentSection, teacher: Teacher) -> tuple[Sequence[str] | None, bool]:
    """The vocabulary before pruning, none where it is to be learnt, and whether its tokenizer lower-cases."""
    if section.vocabulary == TRAINED:
        return None, section.lowercase
    if section.vocabulary is not None and Path(section.vocabulary).is_file():
        return read_vocabulary(Path(section.vocabulary)), section.lowercase
    if section.vocabulary is not None:
        return _word_pieces(load_tokenizer(section.vocabulary).backend_tokenizer, section.vocabulary)
    if section.kind == "transformer" and section.transformer.checkpoint is not None:
        checkpoint = section.transformer.checkpoint
        return _word_pieces(load_tokenizer(checkpoint).backend_tokenizer, checkpoint)
    return _word_pieces(teacher.encoder.tokenizer, "the teacher")


def _word_pieces(tokenizer: Tokenizer, origin: str) -> tuple[tuple[str, ...], bool]:
    if not isinstance(tokenizer.model, models.WordPiece):
        raise RecipeError(
            f"student.vocabulary: {origin} has no WordPiece vocabulary to share. Give `{TRAINED}` to learn one from "
            "the text, the path of a vocab.txt, or a checkpoint that has one, such as bert-base-multilingual-cased."
        )
    ids = tokenizer.get_vocab(with_added_tokens=True)
    normalizer = json.loads(tokenizer.to_str()).get("normalizer") or {}
    return tuple(sorted(ids, key=ids.__getitem__)), bool(normalizer.get("lowercase"))


def _all_text(corpus: LabelledCorpus, store: SoftLabelStore) -> Iterator[Sequence[Sequence[str]]]:
    yield from store.sentences()
    for language in corpus.languages:
        yield [sentence.words for sentence in corpus.sentences(language, "train")]


def _new_bilstm(section: StudentSection, pieces: Sequence[str], teacher: Teacher, *, with_projection: bool) -> BiLstm:
    shape = BiLstmShape(
        vocabulary_size=len(pieces),
        embedding_width=section.embedding_width,
        hidden_width=section.hidden_width,
        representation_width=teacher.width,
        tags=len(teacher.scheme.tags),
        head=section.head,
        dropout=section.dropout,
    )
    crf = Crf(teacher.scheme) if section.crf else None
    network = BiLstm(shape, with_projection=with_projection, crf=crf)
    if section.embeddings == "svd":
        if section.embedding_width > teacher.width:
            raise RecipeError(
                f"student.embedding_width {section.embedding_width}: an SVD of the teacher's embeddings has at most "
                f"{teacher.width} columns. Take fewer, or embeddings: random."
            )
        carried = carry_embeddings(pieces, teacher.encoder.tokenizer, piece_embeddings(teacher))
        with torch.no_grad():
            network.embeddings.weight.copy_(reduce_by_svd(carried, section.embedding_width))
    return network


def _new_transformer(
    section: StudentSection, pieces: Sequence[str], teacher: Teacher, representation_width: int | None
) -> TransformerStudent:
    """A student with random layers. Wider than the teacher, its embeddings are random too."""
    shape = scratch_shape(section, vocabulary_size=len(pieces), tags=len(teacher.scheme.tags))
    network = TransformerStudent(shape, representation_width=representation_width)
    if section.embeddings == "svd" and shape.hidden_width <= teacher.width:
        carried = carry_embeddings(pieces, teacher.encoder.tokenizer, piece_embeddings(teacher))
        spread = network.model.config.initializer_range
        with torch.no_grad():
            network.embeddings.weight.copy_(reduce_for_layer_norm(carried, shape.hidden_width, spread=spread))
    return network


def _part_of_bert(
    recipe: Recipe, pieces: Sequence[str], teacher: Teacher, representation_width: int | None
) -> TransformerStudent:
    """A student that is a small checkpoint, or some of a teacher's layers, under a new classifier."""
    section = recipe.student
    checkpoint = section.transformer.checkpoint
    source, origin = teacher, "student.transformer.start: teacher"
    if checkpoint is not None:
        source = start_teacher(checkpoint, teacher.scheme, max_pieces=_ANY_WINDOW, seed=recipe.seed)
        origin = f"student.transformer.checkpoint {checkpoint}"
    shape = shape_of_bert(source.model.config, origin=origin)
    if section.max_pieces > shape.positions:
        raise RecipeError(f"student.max_pieces {section.max_pieces}: {origin} reads at most {shape.positions} pieces.")
    layers: Sequence[int] = range(1, source.layers + 1)
    if checkpoint is None:
        wanted = section.transformer
        layers = choose_layers(wanted.layers, wanted.teacher_layers, available=source.layers)
    return student_of_bert(
        source.model,
        replace(shape, dropout=section.dropout, tags=len(teacher.scheme.tags)),
        layers=layers,
        embeddings=_carried_with_special_rows(pieces, source),
        representation_width=representation_width,
    )


def _carried_with_special_rows(pieces: Sequence[str], source: Teacher) -> Tensor:
    """Rows of a BERT for a student's pieces; [UNK], [CLS] and their like mean the same to both.

    Shapes: result (pieces, width) float32.
    """
    embeddings = piece_embeddings(source)
    carried = carry_embeddings(pieces, source.encoder.tokenizer, embeddings)
    known = source.encoder.tokenizer.get_vocab()
    shared = [(index, known[piece]) for index, piece in enumerate(pieces) if piece in SPECIAL_PIECES and piece in known]
    for index, row in shared:
        carried[index] = embeddings[row]
    return carried
