"""A tiny student of any kind with its teacher, its gold sentences and its store, on any device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from support.tiny_teacher import BERT_PIECES, SCHEME
from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.distillation.sources import Distillation, student_windows
from xtremedistil_ner.models.bilstm import BiLstm, BiLstmShape
from xtremedistil_ner.models.cnn import Cnn, CnnShape
from xtremedistil_ner.models.crf import Crf
from xtremedistil_ner.models.kinds import KINDS
from xtremedistil_ner.models.transformer import TransformerShape, TransformerStudent
from xtremedistil_ner.pieces.encoder import PieceEncoder
from xtremedistil_ner.pieces.vocabulary import wordpiece_tokenizer
from xtremedistil_ner.run_folder.soft_labels import open_store, seal_store, write_shard

MAX_PIECES = 16
GOLD = (
    Sentence("0", "en", ("ab", "cde", "a"), ("B-PER", "I-PER", "O")),
    Sentence("1", "en", ("b", "dc"), ("O", "B-LOC")),
    Sentence("2", "en", ("abcab", "e", "d", "ca", "bb"), ("O", "O", "B-PER", "O", "O")),
    Sentence("3", "en", ("abcde" * 3, "a", "bc", "\u200b"), ("B-LOC", "I-LOC", "O", "O")),
)
WORDS = [sentence.words for sentence in GOLD]


def make_student(kind, width, *, head="projected", crf=False, dropout=0.2, seed=3):
    """A network of small random weights; `width` is the teacher's."""
    torch.manual_seed(seed)
    n_pieces, n_tags = len(BERT_PIECES), len(SCHEME.tags)
    if kind == "transformer":
        shape = TransformerShape(n_pieces, 2, 12, 3, 20, MAX_PIECES, n_tags, dropout=dropout, attention_dropout=dropout)
        return TransformerStudent(shape, representation_width=width)
    own = {"with_projection": True, "crf": Crf(SCHEME) if crf else None}
    if kind == "bilstm":
        return BiLstm(BiLstmShape(n_pieces, 5, 7, width, n_tags, head, dropout), **own)
    return Cnn(CnnShape(n_pieces, 5, 7, width, n_tags, 2, 3, head, dropout), **own)


def student_encoder(kind):
    tokenizer = wordpiece_tokenizer(BERT_PIECES, lowercase=False, special_rows=not KINDS[kind].is_own)
    return PieceEncoder(tokenizer, max_pieces=MAX_PIECES, pad_id=0)


def open_tiny_store(folder):
    """Random soft labels of `WORDS`, with one word that no teacher covers."""
    n_words = sum(map(len, WORDS))
    logits = np.random.default_rng(0).normal(size=(n_words, len(SCHEME.tags))).astype(np.float32)
    write_shard(folder / "en-00000", WORDS, logits, np.arange(n_words) != 4, language="en", fingerprint="f")
    seal_store(folder, ["en-00000"], fingerprint="f", tags=SCHEME.tags, counts={})
    return open_store(folder)


def open_tiny_distillation(store, teacher, kind, *, dtype=torch.float32, losses=None, **student):
    """On the teacher's device. Equal arguments give equal first weights."""
    network = make_student(kind, teacher.width, **student).to(teacher.model.device)
    encoder = student_encoder(kind)
    transfer = encoder.encode(WORDS)
    return Distillation(
        network=network,
        encoder=encoder,
        gold=GOLD,
        transfer=transfer,
        windows=teacher.encoder.encode([words for chunk in student_windows(transfer, store) for words in chunk]),
        store=store,
        teacher=teacher,
        teacher_layer=1,
        dtype=dtype,
        batch=4,
        seed=13,
        **(losses or {}),
    )


def same_passes(source):
    """A source whose updates are one pass on every device: only a CPU's are cut by their cost."""
    return replace(source, cost=None)
