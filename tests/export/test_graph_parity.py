"""Batches of 1 to 9 rows and of 1 to 257 pieces, all pairs: graphs against torch, and rows against themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.onnx_session import open_session, run
from support.tiny_student import SCHEME, VOCABULARY
from support.tiny_transformer import SHAPE, make_transformer

from xtremedistil_ner.models.bilstm import BiLstm, BiLstmShape
from xtremedistil_ner.models.cnn import Cnn, CnnShape

LONGEST = 257
TIES = {"cnn": 1e-6}
"""Where two best logits are nearer than this either tag is right: of 900,000 pieces, random weights had one pair within
rounding (8e-8)."""
pytestmark = pytest.mark.slow


def make_bilstm(head, *, hidden_width=40):
    torch.manual_seed(0)
    shape = BiLstmShape(
        vocabulary_size=len(VOCABULARY),
        embedding_width=50,
        hidden_width=hidden_width,
        representation_width=384,
        tags=len(SCHEME.tags),
        head=head,
        dropout=0.2,
    )
    return BiLstm(shape).eval()


def make_cnn():
    torch.manual_seed(0)
    shape = CnnShape(
        vocabulary_size=len(VOCABULARY),
        embedding_width=50,
        hidden_width=100,
        representation_width=384,
        tags=len(SCHEME.tags),
        layers=3,
        kernel=5,
        head="direct",
        dropout=0.2,
    )
    return Cnn(shape).eval()


def make_bert():
    return make_transformer(replace(SHAPE, positions=LONGEST))


NETWORKS = {
    "projected": lambda: make_bilstm("projected"),
    "direct": lambda: make_bilstm("direct"),
    "cnn": make_cnn,
    "bert": make_bert,
}


def batches():
    """All pairs of a batch size and a longest row; the other rows are shorter, some of one piece."""
    random = np.random.default_rng(0)
    for size in range(1, 10):
        for longest in range(1, LONGEST + 1):
            lengths = np.append(random.integers(1, longest, size - 1, endpoint=True), longest)
            mask = (np.arange(longest) < random.permutation(lengths)[:, None]).astype(np.int64)
            yield random.integers(1, len(VOCABULARY), mask.shape) * mask, mask


@pytest.mark.parametrize("name", NETWORKS)
def test_a_graph_has_torchs_logits_and_tags_at_every_size_of_a_batch(name):
    network = NETWORKS[name]()
    session = open_session(network)
    worst = 0.0
    for input_ids, mask in batches():
        found = run(session, input_ids, mask)
        with torch.no_grad():
            expected = network(torch.from_numpy(input_ids), torch.from_numpy(mask)).numpy()
        real = mask.astype(bool)
        worst = max(worst, float(np.abs(found - expected)[real].max()))
        second, best = np.sort(expected, axis=-1)[..., -2:].transpose(2, 0, 1)
        decided = real & (best - second >= TIES.get(name, 0.0))
        np.testing.assert_array_equal(found[decided].argmax(-1), expected[decided].argmax(-1))
    assert worst <= 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_a_row_has_the_same_bits_alone_and_in_any_batch(name):
    """BiLSTMs of the papers' width: which kernel multiplies may depend on it."""
    network = NETWORKS[name]() if name in ("bert", "cnn") else make_bilstm(name, hidden_width=200)
    session = open_session(network)
    for input_ids, mask in batches():
        together = run(session, input_ids, mask)
        row = len(mask) // 2
        length = int(mask[row].sum())
        alone = run(session, input_ids[row : row + 1, :length], mask[row : row + 1, :length])
        assert np.array_equal(alone[0], together[row, :length])
