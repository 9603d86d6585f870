"""The convolutional student against a loop over positions, and its graph, folder and Auto class against itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.onnx_session import assert_contract, open_session, run
from support.tiny_student import MAX_PIECES, SCHEME, make_cnn, make_tokenizer, ragged_batch, save_tiny_student
from torch import nn
from transformers import AutoModelForTokenClassification, AutoTokenizer

import xtremedistil_ner.hf
from xtremedistil_ner.errors import ModelError
from xtremedistil_ner.export.onnx_graph import build_graph, write_graph
from xtremedistil_ner.models.crf import Crf
from xtremedistil_ner.models.student import load_student, save_student

HEADS = pytest.mark.parametrize("head", ["projected", "direct"])
LENGTHS = [3, 9, 1, 6, 9]


def looped_states(network, ids):
    """The states of one row, position by position, in float64: neighbours beyond its ends are not there."""
    shape = network.shape
    states = network.embeddings.weight.double()[ids]
    for index, convolution in enumerate(network.convolutions):
        weight, bias = convolution.weight.double(), convolution.bias.double()
        found = []
        for position in range(len(ids)):
            value = bias.clone()
            for place in range(shape.kernel):
                neighbour = position + (place - shape.kernel // 2) * 2**index
                if 0 <= neighbour < len(ids):
                    value = value + weight[:, :, place] @ states[neighbour]
            value = value.clamp(min=0)
            found.append(value if index == 0 else states[position] + value)
        states = torch.stack(found)
    return states


@HEADS
@pytest.mark.parametrize(("layers", "kernel"), [(1, 3), (3, 3), (2, 5)])
def test_a_ragged_batch_equals_a_loop_over_positions(head, layers, kernel):
    network = make_cnn(head, layers=layers, kernel=kernel)
    input_ids, mask = ragged_batch(LENGTHS)
    with torch.no_grad():
        logits = network(input_ids, mask)
        for row, length in enumerate(LENGTHS):
            states = looped_states(network, input_ids[row, :length])
            if head == "projected":
                hidden = states @ network.projection.weight.double().T + network.projection.bias
                states = hidden * torch.distributions.Normal(0.0, 1.0).cdf(hidden)
            expected = states @ network.classifier.weight.double().T + network.classifier.bias
            torch.testing.assert_close(logits[row, :length].double(), expected, rtol=1e-5, atol=1e-5)


def test_padding_never_changes_a_pieces_logits():
    network = make_cnn()
    input_ids, mask = ragged_batch(LENGTHS)
    wider = nn.functional.pad(input_ids, (0, 5), value=3), nn.functional.pad(mask, (0, 5))
    with torch.no_grad():
        narrow_logits, wide_logits = network(input_ids, mask), network(*wider)
    real = mask.bool()
    torch.testing.assert_close(wide_logits[:, : mask.shape[1]][real], narrow_logits[real], rtol=1e-5, atol=1e-5)


def test_a_piece_sees_as_far_as_its_layers_reach_and_no_further():
    """Three layers over 3 pieces reach 1 + 2 + 4 pieces to each side."""
    network = make_cnn()
    input_ids, mask = ragged_batch([20])
    other = input_ids.clone()
    other[0, 10] = (other[0, 10] + 1) % network.shape.vocabulary_size
    with torch.no_grad():
        changed = (network(input_ids, mask) != network(other, mask)).any(dim=-1)[0]
    assert changed.nonzero().flatten().tolist() == list(range(3, 18))


@HEADS
def test_layers_from_top_to_bottom_share_out_all_parameters(head):
    network = make_cnn(head, crf=Crf(SCHEME))
    layers = network.layers()
    middle = ["projection"] if head == "projected" else []
    assert list(layers) == ["classifier", *middle, "layer 3", "layer 2", "layer 1", "embeddings"]
    owners = [
        [layer for layer, prefixes in layers.items() if name.startswith(prefixes)] for name in network.state_dict()
    ]
    assert all(len(found) == 1 for found in owners)
    assert {found[0] for found in owners} == set(layers)


def test_a_direct_head_classifies_without_its_projection_and_is_saved_without_it(tmp_path):
    network = make_cnn("direct", with_projection=True)
    batch = ragged_batch(LENGTHS)
    save_student(tmp_path, network, make_tokenizer(), SCHEME, lowercase=False, max_pieces=MAX_PIECES)
    with torch.no_grad():
        expected = network(*batch)
        network.projection.weight.zero_()
        assert torch.equal(network(*batch), expected)
        assert torch.equal(load_student(tmp_path).network(*batch), expected)
    assert load_student(tmp_path).network.projection is None
    with pytest.raises(ValueError, match="no projection"):
        make_cnn("direct").represent(torch.zeros(1, 7))


@HEADS
def test_transformers_and_xner_load_exactly_the_weights_that_were_saved(tmp_path, head):
    network = save_tiny_student(tmp_path / "first", head, make=make_cnn)
    model, loading = AutoModelForTokenClassification.from_pretrained(tmp_path / "first", output_loading_info=True)
    assert not any(loading.values()), loading
    model.save_pretrained(tmp_path / "second")
    AutoTokenizer.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    batch = ragged_batch([2, 5])
    with torch.no_grad():
        expected = network(*batch)
        assert torch.equal(model(*batch).logits, expected)
        for name in ("first", "second"):
            student = load_student(tmp_path / name)
            assert student.network.shape == network.shape
            assert torch.equal(student.network(*batch), expected)
    config = json.loads((tmp_path / "first" / "config.json").read_text(encoding="utf-8"))
    assert (config["model_type"], config["architectures"]) == ("xner-cnn", ["CnnForTokenClassification"])


def test_new_convolutions_start_as_torch_starts_them():
    """Torch draws weights and biases from ±1/sqrt(kernel * width before)."""
    config = xtremedistil_ner.hf.CnnConfig(vocabulary_size=20, hidden_width=16, id2label={0: "O"})
    torch.manual_seed(0)
    network = xtremedistil_ner.hf.CnnForTokenClassification(config).network
    for convolution in network.convolutions:
        limit = (convolution.in_channels * 5) ** -0.5
        for parameter in convolution.parameters():
            assert limit / 2 < parameter.abs().max() <= limit
            assert parameter.abs().mean() > limit / 4


def lose_a_weight(weights):
    del weights["network.convolutions.1.bias"]


def add_a_weight(weights):
    weights["network.convolutions.3.bias"] = torch.zeros(7)


def cut_a_weight(weights):
    weights["network.convolutions.0.weight"] = weights["network.convolutions.0.weight"][1:].clone()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lose_a_weight, r"network\.convolutions\.1\.bias is missing"),
        (add_a_weight, r"network\.convolutions\.3\.bias is unexpected"),
        (cut_a_weight, r"network\.convolutions\.0\.weight is \(6, 5, 3\), expected \(7, 5, 3\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, message):
    save_tiny_student(tmp_path, make=make_cnn)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=message):
        load_student(tmp_path)


@pytest.mark.parametrize(("key", "value"), [("layers", 0), ("kernel", 4), ("kernel", None)])
def test_a_config_that_describes_no_network_is_refused(tmp_path, key, value):
    save_tiny_student(tmp_path, make=make_cnn)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {key: value}), encoding="utf-8")
    with pytest.raises(ModelError, match=f"{key} is {value}"):
        load_student(tmp_path)


@HEADS
@pytest.mark.parametrize("lengths", [[*LENGTHS, 2], [1], [17], [1, 1, 1], [2, 30]])
def test_a_graph_has_torchs_logits(head, lengths):
    network = make_cnn(head, kernel=5)
    input_ids, mask = ragged_batch(lengths)
    with torch.no_grad():
        expected = network(input_ids, mask).numpy()
    real = mask.bool().numpy()
    found = run(open_session(network), input_ids, mask)[real]
    np.testing.assert_allclose(found, expected[real], rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(found.argmax(-1), expected[real].argmax(-1))


def test_the_ids_of_padding_and_a_row_without_pieces_change_nothing_in_a_graph():
    session = open_session(make_cnn())
    input_ids, mask = ragged_batch([*LENGTHS, 0])
    real = mask.bool().numpy()
    filled = run(session, torch.where(mask.bool(), input_ids, 3), mask)
    assert np.array_equal(filled[real], run(session, input_ids, mask)[real])
    assert np.isfinite(filled).all()


@HEADS
def test_the_graph_is_valid_and_all_its_dimensions_are_symbolic(head):
    assert_contract(build_graph(make_cnn(head), SCHEME, max_pieces=MAX_PIECES))


def test_equal_weights_give_equal_graphs(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_graph(tmp_path / name, build_graph(make_cnn(seed=seed), SCHEME, max_pieces=MAX_PIECES))
    first, second, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second
    assert first != other
