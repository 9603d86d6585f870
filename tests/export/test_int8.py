"""int8 graphs: close to float32, judged on dev, published or not, and never used unasked where float32 is there."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from support.onnx_session import assert_interface, run
from support.tiny_export import make_export
from support.tiny_student import MAX_PIECES, SCHEME, make_cnn, make_network, ragged_batch
from support.tiny_transformer import make_transformer

from xtremedistil_ner.errors import ModelError
from xtremedistil_ner.export.int8_verdict import Int8Verdict, judge_int8
from xtremedistil_ner.export.onnx_graph import build_graph
from xtremedistil_ner.export.onnx_int8 import quantise_graph
from xtremedistil_ner.tagging.tagger import Tagger

NETWORKS = pytest.mark.parametrize(
    "make",
    [make_network, lambda: make_network("direct"), make_cnn, make_transformer],
    ids=["projected", "direct", "cnn", "transformer"],
)
LENGTHS = [3, 9, 1, 6, 9, 2]


def quantised(network):
    return quantise_graph(build_graph(network, SCHEME, max_pieces=MAX_PIECES))


def session_of(graph):
    return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


@NETWORKS
def test_an_int8_graph_has_nearly_the_logits_of_float32(make):
    """A mistaken scale, transposed matrix or swapped gate would leave no correlation at all."""
    network = make()
    input_ids, mask = ragged_batch(LENGTHS)
    real = mask.bool().numpy()
    expected = run(session_of(build_graph(network, SCHEME, max_pieces=MAX_PIECES)), input_ids, mask)[real]
    found = run(session_of(quantised(network)), input_ids, mask)[real]
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99
    assert not np.array_equal(found, expected)


@NETWORKS
def test_an_int8_graph_keeps_the_contract_and_has_no_float_matrix(make):
    graph = quantised(make())
    assert_interface(graph)
    assert {entry.key for entry in graph.metadata_props} == {"tags", "max_pieces"}
    floats = [tensor for tensor in graph.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    matrices = [tensor.name for tensor in floats if min(tensor.dims, default=1) > 2 and len(tensor.dims) > 1]
    assert matrices in ([], ["positions"])  # those of a transformer are added, and small


@NETWORKS
def test_equal_weights_give_equal_bytes_and_nothing_is_said(make, capfd, caplog):
    first, second = (quantised(make()).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_a_row_of_embeddings_is_off_by_half_a_step_of_its_own_scale_at_most():
    network = make_network()
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised(network).graph.initializer}
    scales = tensors["embeddings_scales"]
    table = network.embeddings.weight.detach().numpy()
    assert tensors["embeddings_rows"].dtype == np.int8
    assert scales.dtype == np.float16
    np.testing.assert_allclose(scales[:, 0], np.abs(table).max(axis=1) / 127, rtol=2**-10)
    assert (np.abs(tensors["embeddings_rows"] * scales.astype(np.float32) - table) <= scales / 2 * 1.001).all()


@pytest.mark.parametrize(
    ("after", "forced", "good", "published", "dropping"),
    [
        ({"en": 0.90, "no": 0.80}, False, True, True, []),
        ({"en": 0.90, "no": 0.794}, False, True, True, []),  # 0.3 points on average, and no more
        ({"en": 0.90, "no": 0.7939}, False, False, False, []),
        ({"en": 0.92, "no": 0.785}, False, True, True, ["no"]),
        ({"en": 0.89, "no": 0.70}, False, False, False, ["no"]),  # one point is not more than one
        ({"en": 0.89, "no": 0.70}, True, False, True, ["no"]),
    ],
)
def test_a_verdict_is_about_the_mean_and_names_each_language_that_loses_a_point(
    after, forced, good, published, dropping
):
    verdict = Int8Verdict({"en": 0.90, "no": 0.80}, after, forced)
    assert (verdict.is_good, verdict.is_published, verdict.dropping) == (good, published, dropping)


def test_a_change_of_next_to_nothing_has_no_sign_of_a_loss(tmp_path):
    folder = export(tmp_path, {"en": 0.9 - 1e-6, "no": 0.8})
    assert "| English (en) | 90.00 | 90.00 | +0.00 |" in (folder / "README.md").read_text(encoding="utf-8")


def test_without_a_dev_sentence_nothing_is_published_unless_forced():
    assert not Int8Verdict({}, {}).is_published
    assert Int8Verdict({}, {}, forced=True).is_published
    assert Int8Verdict({}, {}).macro_drop is None


BEFORE = {"en": 0.9, "no": 0.8}
GOOD, BAD = {"en": 0.9, "no": 0.799}, {"en": 0.9, "no": 0.7}


def export(folder, after, *, forced=False, formats=("hf", "onnx", "onnx-int8")):
    return make_export(folder, formats=formats, judge=lambda float32, int8: Int8Verdict(BEFORE, after, forced))


@pytest.mark.parametrize(
    ("after", "forced", "there", "said"),
    [
        (GOOD, False, True, "loses no more than 0.3 points"),
        (GOOD, True, True, "loses no more than 0.3 points"),
        (BAD, False, False, "loses 5.00 points of macro-F1 on dev, more than 0.3; it was not published"),
        (BAD, True, True, "more than 0.3. It was published all the same (`--force`)."),
    ],
)
def test_an_export_has_the_graph_the_table_and_the_reason(tmp_path, after, forced, there, said):
    folder = export(tmp_path, after, forced=forced)
    assert (folder / "onnx" / "model_int8.onnx").exists() is there
    card = " ".join((folder / "README.md").read_text(encoding="utf-8").split())
    assert said in card
    assert f"| Norwegian (no) | 80.00 | {100 * after['no']:.2f} | {100 * (after['no'] - 0.8):+.2f} |" in card
    assert ("lose more than one point: Norwegian (no)" in card) is (after is BAD)
    noted = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["int8"]
    assert (noted["published"], noted["forced"]) == (there, forced and after is BAD)
    assert noted["dev_f1"]["no"] == {"float32": 0.8, "int8": after["no"]}


FILES = {"README.md", "CONTRACT.md", "config.json", "decoding_vectors.json", "manifest.json", "tokenizer.json"} | {
    "tokenizer_config.json"
}
OF_FORMAT = {"hf": "model.safetensors", "onnx": "onnx/model.onnx", "onnx-int8": "onnx/model_int8.onnx"}


@pytest.mark.parametrize("formats", [("hf",), ("onnx",), ("onnx-int8",), ("onnx", "onnx-int8")])
def test_an_export_has_the_files_of_its_formats_alone(tmp_path, formats):
    folder = export(tmp_path, GOOD, formats=formats)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert present == FILES | {OF_FORMAT[name] for name in formats}
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert ("from transformers" in card) is ("hf" in formats)
    assert ("onnxruntime.InferenceSession" in card) is (formats != ("hf",))


def test_a_tagger_takes_float32_unless_int8_is_asked_for_or_all_there_is(tmp_path):
    text = "Abc de, fGh a.b ef gh Xyz"
    both, one = export(tmp_path / "both", GOOD), export(tmp_path / "one", GOOD, formats=("onnx-int8",))
    float32, int8 = (Tagger.from_pretrained(both, precision=name).tag([text]) for name in ("float32", "int8"))
    assert Tagger.from_pretrained(both).tag([text]) == float32
    assert Tagger.from_pretrained(one).tag([text]) == int8
    assert float32 != int8, "scores differ at least, else this shows nothing"
    with pytest.raises(ModelError, match=r"no ONNX graph in float32, only int8.*--format onnx"):
        Tagger.from_pretrained(one, precision="float32")


def test_an_export_without_a_graph_says_what_it_lacks(tmp_path):
    with pytest.raises(ModelError, match=r"no ONNX graph, none\. Export again"):
        Tagger.from_pretrained(export(tmp_path, GOOD, formats=("hf",)))


def test_the_verdict_is_the_dev_f1_of_both_graphs_as_a_service_runs_them(finished_run):
    """A run of the whole pipeline, and the scores that `evaluate` gives the two graphs of its export."""
    from xtremedistil_ner.corpus.labelled import open_corpus
    from xtremedistil_ner.recipe.reader import load_recipe
    from xtremedistil_ner.stages.evaluate_model import evaluate_model

    folder = finished_run / "run" / "export"
    noted = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["int8"]
    corpus = open_corpus(load_recipe(finished_run / "tiny.yaml").corpus)
    float32 = Tagger.from_pretrained(folder)
    again = judge_int8(float32, float32, corpus, languages=corpus.languages, forced=False)
    assert again.macro_drop == 0
    assert set(noted["dev_f1"]) == {"en", "no"}
    for name in ("float32", "int8") if noted["published"] else ("float32",):
        scores = evaluate_model(
            folder,
            corpus=str(finished_run / "corpus"),
            split="dev",
            languages=(),
            graph=name,
            tell=lambda event: None,
        )
        for code, both in noted["dev_f1"].items():
            assert scores["languages"][code]["f1"] == pytest.approx(both[name])
