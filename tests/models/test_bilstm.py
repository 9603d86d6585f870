"""The batched student against torch's own bidirectional LSTM, one sentence at a time."""

from __future__ import annotations

import pytest
import torch
from support.tiny_student import SCHEME, make_network, ragged_batch
from torch import nn

from xtremedistil_ner.models.crf import Crf

LENGTHS = [3, 9, 1, 6, 9]


def bidirectional_lstm(network):
    """`nn.LSTM(bidirectional=True)` with the student's weights: another kernel, without gather or padding."""
    shape = network.shape
    lstm = nn.LSTM(shape.embedding_width, shape.hidden_width, batch_first=True, bidirectional=True)
    state = {name: value for name, value in network.forward_lstm.state_dict().items()}
    state |= {f"{name}_reverse": value for name, value in network.backward_lstm.state_dict().items()}
    lstm.load_state_dict(state)
    return lstm


@pytest.mark.parametrize("head", ["projected", "direct"])
def test_a_ragged_batch_equals_a_bidirectional_lstm_run_sentence_by_sentence(head):
    network = make_network(head)
    lstm = bidirectional_lstm(network)
    input_ids, mask = ragged_batch(LENGTHS)
    with torch.no_grad():
        logits = network(input_ids, mask)
        for row, length in enumerate(LENGTHS):
            states, _ = lstm(network.embeddings.weight[input_ids[row : row + 1, :length]])
            if head == "projected":
                hidden = states @ network.projection.weight.T + network.projection.bias
                states = hidden * torch.distributions.Normal(0.0, 1.0).cdf(hidden)
            expected = states @ network.classifier.weight.T + network.classifier.bias
            torch.testing.assert_close(logits[row, :length], expected[0], rtol=1e-5, atol=1e-5)


def test_padding_never_changes_a_pieces_logits():
    network = make_network()
    input_ids, mask = ragged_batch(LENGTHS)
    wider = nn.functional.pad(input_ids, (0, 5), value=3), nn.functional.pad(mask, (0, 5))
    with torch.no_grad():
        narrow_logits, wide_logits = network(input_ids, mask), network(*wider)
    real = mask.bool()
    torch.testing.assert_close(wide_logits[:, : mask.shape[1]][real], narrow_logits[real], rtol=1e-6, atol=1e-6)


def test_a_direct_head_classifies_without_its_projection():
    network = make_network("direct", with_projection=True)
    input_ids, mask = ragged_batch(LENGTHS)
    with torch.no_grad():
        before = network(input_ids, mask)
        network.projection.weight.zero_()
        assert torch.equal(network(input_ids, mask), before)


def test_a_student_without_projection_has_no_representation():
    with pytest.raises(ValueError, match="no projection"):
        make_network("direct").represent(torch.zeros(1, 14))


@pytest.mark.parametrize("head", ["projected", "direct"])
def test_layers_from_top_to_bottom_share_out_all_parameters(head):
    network = make_network(head, crf=Crf(SCHEME))
    layers = network.layers()
    middle = ["projection"] if head == "projected" else []
    assert list(layers) == ["classifier", *middle, "lstm", "embeddings"]
    owners = [
        [layer for layer, prefixes in layers.items() if name.startswith(prefixes)] for name in network.state_dict()
    ]
    assert all(len(found) == 1 for found in owners)
    assert {found[0] for found in owners} == set(layers)


def test_a_crf_changes_neither_first_weights_nor_logits():
    input_ids, mask = ragged_batch(LENGTHS)
    plain, with_crf = make_network(), make_network(crf=Crf(SCHEME))
    with torch.no_grad():
        assert torch.equal(plain(input_ids, mask), with_crf(input_ids, mask))
