"""The model repository for Triton: a configuration by Triton's own schema, and a contract that gives our scores."""

from __future__ import annotations

import re

import numpy as np
import onnxruntime
import pytest
from tiny_export import make_export
from tiny_student import MAX_PIECES, SCHEME, save_tiny_student
from tiny_transformer import save_tiny_transformer
from tokenizers import Tokenizer

from xtremedistil_ner.corpus.words import split_words
from xtremedistil_ner.exported import verify_export
from xtremedistil_ner.tagger import Tagger
from xtremedistil_ner.word_logits import score_words

TEXT = "Abc de, fGh a.b"


@pytest.fixture(params=["bilstm", "transformer"])
def export(request, tmp_path):
    save = save_tiny_transformer if request.param == "transformer" else save_tiny_student
    return make_export(tmp_path, save=save, formats=("onnx", "triton"))


def test_the_repository_has_the_graph_under_version_1_and_the_manifest_vouches_for_it(export):
    model = export / "triton" / "xner" / "1" / "model.onnx"
    assert model.read_bytes() == (export / "onnx" / "model.onnx").read_bytes()
    assert "triton/xner/config.pbtxt" in verify_export(export)["files"]


@pytest.mark.peers
def test_the_configuration_is_triton_s_and_fits_the_graph(export):
    """`max_batch_size` above 0 leaves the batch out of the dimensions.

    Needs `tritonclient[grpc]`, which does not fit beside the pinned packages: install it into an environment of its own
    that sees theirs.
    """
    schema = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    config = text_format.Parse((export / "triton" / "xner" / "config.pbtxt").read_text("utf-8"), schema.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size > 0) == ("xner", "onnxruntime", True)
    graph = onnxruntime.InferenceSession(str(export / "triton" / "xner" / "1" / "model.onnx"))
    assert [value.name for value in config.input] == [value.name for value in graph.get_inputs()]
    assert [value.name for value in config.output] == [value.name for value in graph.get_outputs()]
    assert {value.data_type for value in config.input} == {schema.TYPE_INT64}
    assert [list(value.dims) for value in config.input] == [[-1], [-1]]
    assert (config.output[0].data_type, list(config.output[0].dims)) == (schema.TYPE_FP32, [-1, len(SCHEME.tags)])


def test_a_client_that_follows_the_contract_has_our_scores_of_the_words(export):
    contract = (export / "triton" / "CONTRACT.md").read_text(encoding="utf-8")
    tags = re.search(r"last axis: ([^.]+)\.", contract)[1].split(", ")
    assert f"at most {MAX_PIECES} pieces" in contract
    words = [word for word, _, _ in split_words(TEXT)]
    encoding = Tokenizer.from_file(str(export / "tokenizer.json")).encode(words, is_pretokenized=True)
    ids = np.array([encoding.ids])
    session = onnxruntime.InferenceSession(str(export / "triton" / "xner" / "1" / "model.onnx"))
    (logits,) = session.run(["logits"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    first = [encoding.word_ids.index(word) for word in range(len(words))]
    ours = Tagger.from_pretrained(export)
    expected, _, _ = score_words(ours.scorer, ours.encoder, [words], n_tags=len(tags), batch_pieces=1024)
    assert tuple(tags) == ours.scheme.tags
    np.testing.assert_array_equal(logits[0, first].argmax(-1), expected.argmax(-1))
