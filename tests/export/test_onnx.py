"""The hand-written ONNX graph against torch, in float32."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from support.onnx_session import assert_contract, open_session, run
from support.tiny_student import MAX_PIECES, SCHEME, make_network, ragged_batch, save_tiny_student

from xtremedistil_ner.errors import ModelError
from xtremedistil_ner.export.onnx_graph import build_graph, write_graph
from xtremedistil_ner.models.bilstm import BiLstm, BiLstmShape
from xtremedistil_ner.tagging.tagger import Tagger

HEADS = pytest.mark.parametrize("head", ["projected", "direct"])
LENGTHS = [3, 9, 1, 6, 9, 2]


@HEADS
@pytest.mark.parametrize("lengths", [LENGTHS, [1], [17], [1, 1, 1], [2, 30]])
def test_real_pieces_have_torchs_logits(head, lengths):
    network = make_network(head)
    input_ids, mask = ragged_batch(lengths)
    with torch.no_grad():
        expected = network(input_ids, mask).numpy()
    real = mask.bool().numpy()
    np.testing.assert_allclose(run(open_session(network), input_ids, mask)[real], expected[real], rtol=0, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_has_the_same_bits_alone_and_in_a_batch(threads):
    torch.manual_seed(0)
    shape = BiLstmShape(
        vocabulary_size=100,
        embedding_width=50,
        hidden_width=64,
        representation_width=96,
        tags=len(SCHEME.tags),
        head="projected",
        dropout=0.2,
    )
    session = open_session(BiLstm(shape), threads=threads)
    input_ids, mask = ragged_batch(LENGTHS)
    input_ids %= 100
    together = run(session, input_ids, mask)
    for row, length in enumerate(LENGTHS):
        alone = run(session, input_ids[row : row + 1, :length], mask[row : row + 1, :length])
        assert np.array_equal(alone[0], together[row, :length])


def test_the_ids_of_padding_change_nothing():
    session = open_session(make_network())
    input_ids, mask = ragged_batch(LENGTHS)
    real = mask.bool().numpy()
    filled = torch.where(mask.bool(), input_ids, 3)
    assert np.array_equal(run(session, filled, mask)[real], run(session, input_ids, mask)[real])


def test_a_row_without_pieces_disturbs_nobody():
    session = open_session(make_network())
    input_ids, mask = ragged_batch([4, 0, 2])
    logits = run(session, input_ids, mask)
    assert np.array_equal(logits[0], run(session, input_ids[:1], mask[:1])[0])
    assert np.isfinite(logits).all()


@HEADS
def test_the_graph_is_valid_and_all_its_dimensions_are_symbolic(head):
    assert_contract(build_graph(make_network(head), SCHEME, max_pieces=MAX_PIECES))


def test_the_metadata_name_tags_and_window():
    metadata = open_session(make_network()).get_modelmeta().custom_metadata_map
    assert tuple(json.loads(metadata["tags"])) == SCHEME.tags
    assert metadata["max_pieces"] == str(MAX_PIECES)


def test_equal_weights_give_equal_bytes(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_graph(tmp_path / name, build_graph(make_network(seed=seed), SCHEME, max_pieces=MAX_PIECES))
    first, second, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second
    assert first != other


def test_the_graph_of_a_direct_head_has_no_projection():
    graph = build_graph(make_network("direct", with_projection=True), SCHEME, max_pieces=MAX_PIECES)
    assert not [weight.name for weight in graph.graph.initializer if weight.name.startswith("projection")]


def test_a_graph_whose_logits_are_not_finite_is_not_loaded(tmp_path):
    network = save_tiny_student(tmp_path)
    with torch.no_grad():
        network.classifier.bias[0] = float("nan")
    write_graph(tmp_path / "model.onnx", build_graph(network, SCHEME, max_pieces=MAX_PIECES))
    with pytest.raises(ModelError, match=r"model\.onnx: The model gives logits that are no finite numbers"):
        Tagger.from_graph(tmp_path / "model.onnx", tmp_path)
