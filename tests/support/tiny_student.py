"""A tiny real student: 0.01 s to make, weights large enough that its tags differ from word to word."""

from __future__ import annotations

from pathlib import Path

import torch

from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.bilstm import BiLstm, BiLstmShape
from xtremedistil_ner.models.cnn import Cnn, CnnShape
from xtremedistil_ner.models.student import save_student
from xtremedistil_ner.pieces.vocabulary import SPECIAL_PIECES, wordpiece_tokenizer

SCHEME = LabelScheme(("PER", "ORG", "LOC"))
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZäéøабвгдаبتث中日本กข"
VOCABULARY = list(dict.fromkeys([*SPECIAL_PIECES, *LETTERS, *(f"##{letter}" for letter in LETTERS), *".,!?-'"]))
MAX_PIECES = 24


def make_network(head="projected", *, seed=0, with_projection=None, crf=None):
    shape = BiLstmShape(
        vocabulary_size=len(VOCABULARY),
        embedding_width=5,
        hidden_width=7,
        representation_width=11,
        tags=7,
        head=head,
        dropout=0.2,
    )
    torch.manual_seed(seed)
    return with_large_weights(BiLstm(shape, with_projection=with_projection, crf=crf))


def make_cnn(head="projected", *, seed=5, with_projection=None, crf=None, layers=3, kernel=3):
    """The seed is one whose tags differ: behind a ReLU, states of most seeds have one tag."""
    shape = CnnShape(
        vocabulary_size=len(VOCABULARY),
        embedding_width=5,
        hidden_width=7,
        representation_width=11,
        tags=7,
        layers=layers,
        kernel=kernel,
        head=head,
        dropout=0.2,
    )
    torch.manual_seed(seed)
    return with_large_weights(Cnn(shape, with_projection=with_projection, crf=crf), std=0.4)


def with_large_weights(network, *, std=1.0):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=std)
    return network.eval()


def make_tokenizer():
    return wordpiece_tokenizer(VOCABULARY, lowercase=False, special_rows=False)


def save_tiny_student(folder: Path, head="projected", *, make=make_network, seed=None, crf=None):
    network = make(head, crf=crf, **({} if seed is None else {"seed": seed}))
    save_student(folder, network, make_tokenizer(), SCHEME, lowercase=False, max_pieces=MAX_PIECES)
    return network


def ragged_batch(lengths, *, seed=0):
    """Piece ids and their mask, padded on the right. Shapes: (batch, pieces) int64 tensors."""
    torch.manual_seed(seed)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return torch.randint(1, len(VOCABULARY), mask.shape) * mask, mask
