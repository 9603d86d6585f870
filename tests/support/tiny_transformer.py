"""A tiny real transformer student, weights large enough that its tags differ from word to word."""

from __future__ import annotations

import torch

from support.tiny_student import MAX_PIECES, SCHEME, VOCABULARY
from xtremedistil_ner.models.student import save_student
from xtremedistil_ner.models.transformer import TransformerShape, TransformerStudent
from xtremedistil_ner.pieces.vocabulary import wordpiece_tokenizer

SHAPE = TransformerShape(
    vocabulary_size=len(VOCABULARY),
    layers=2,
    hidden_width=12,
    heads=3,
    intermediate_width=20,
    positions=MAX_PIECES,
    tags=len(SCHEME.tags),
    dropout=0.2,
    attention_dropout=0.2,
)


def make_transformer(shape=SHAPE, *, seed=0, representation_width=None):
    torch.manual_seed(seed)
    network = TransformerStudent(shape, representation_width=representation_width).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "LayerNorm" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
            else:
                parameter.normal_(std=0.2)
    return network


def make_special_tokenizer():
    return wordpiece_tokenizer(VOCABULARY, lowercase=False, special_rows=True)


def save_tiny_transformer(folder, *, seed=0, **options):
    network = make_transformer(seed=seed, **options)
    save_student(folder, network, make_special_tokenizer(), SCHEME, lowercase=False, max_pieces=MAX_PIECES)
    return network
