"""The hand-written graph of a transformer student against torch, in float32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.onnx_session import assert_contract, open_session, run
from support.tiny_student import MAX_PIECES, SCHEME, ragged_batch
from support.tiny_transformer import SHAPE, make_transformer
from transformers import BertConfig, BertForTokenClassification

from xtremedistil_ner.export.onnx_graph import build_graph, write_graph

LONGEST = 64
ABSOLUTE, RELATIVE = 1e-5, 1e-6


def lengths_of(batch, longest):
    """Row lengths of a batch: its longest row, and shorter ones down to one piece."""
    return [longest, *(1 + (7 * row + longest) % longest for row in range(1, batch))]


@pytest.mark.parametrize("batch", range(1, 10))
def test_real_pieces_have_torchs_logits_at_every_batch_size_and_length(batch):
    network = make_transformer(replace(SHAPE, positions=LONGEST, heads=1 + batch % 3, layers=1 + batch % 2))
    session = open_session(network)
    for longest in range(1, LONGEST + 1):
        input_ids, mask = ragged_batch(lengths_of(batch, longest), seed=longest)
        with torch.no_grad():
            expected = network(input_ids, mask).numpy()[mask.bool().numpy()]
        found = run(session, input_ids, mask)[mask.bool().numpy()]
        np.testing.assert_allclose(found, expected, rtol=RELATIVE, atol=ABSOLUTE)
        np.testing.assert_array_equal(found.argmax(axis=-1), expected.argmax(axis=-1))


def test_a_stock_bert_without_sdpa_gives_the_graphs_logits():
    """The plain products and softmax of transformers' own class, in float64: no kernel of ours or torch's."""
    network = make_transformer()
    config = BertConfig(**{**network.model.config.to_dict(), "attn_implementation": "eager"})
    stock = BertForTokenClassification(config).eval().double()
    stock.load_state_dict({name: value.double() for name, value in network.model.state_dict().items()})
    input_ids, mask = ragged_batch([3, 9, 1, 6])
    with torch.no_grad():
        expected = stock(input_ids=input_ids, attention_mask=mask).logits.numpy()
    real = mask.bool().numpy()
    np.testing.assert_allclose(run(open_session(network), input_ids, mask)[real], expected[real], atol=1e-5)


def test_padding_changes_nothing_beyond_float32():
    session = open_session(make_transformer())
    input_ids, mask = ragged_batch([4, 9, 2])
    together = run(session, torch.where(mask.bool(), input_ids, 3), mask)
    for row, length in enumerate((4, 9, 2)):
        alone = run(session, input_ids[row : row + 1, :length], mask[row : row + 1, :length])[0]
        np.testing.assert_allclose(together[row, :length], alone, atol=1e-5)


def test_a_row_without_pieces_stays_finite():
    input_ids, mask = ragged_batch([4, 0, 2])
    assert np.isfinite(run(open_session(make_transformer()), input_ids, mask)).all()


def test_the_graph_is_valid_and_keeps_the_contract_of_every_student():
    graph = build_graph(make_transformer(), SCHEME, max_pieces=MAX_PIECES)
    assert_contract(graph)
    assert {entry.key: entry.value for entry in graph.metadata_props}["max_pieces"] == str(MAX_PIECES)


def test_equal_weights_give_equal_bytes_and_the_projection_is_no_part_of_them(tmp_path):
    for name, seed, width in (("a", 0, None), ("b", 0, 11), ("c", 1, None)):
        network = make_transformer(representation_width=width, seed=seed)
        network.model.load_state_dict(make_transformer(seed=seed).model.state_dict())
        write_graph(tmp_path / name, build_graph(network, SCHEME, max_pieces=MAX_PIECES))
    first, second, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second
    assert first != other
