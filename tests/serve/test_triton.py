"""The model repository for Triton: a configuration by Triton's own schema, in a folder that shadows no package."""

from __future__ import annotations

import onnxruntime
import pytest
from support.tiny_export import make_export
from support.tiny_student import SCHEME, save_tiny_student
from support.tiny_transformer import save_tiny_transformer

from xtremedistil_ner.export.triton import FOLDER
from xtremedistil_ner.tagging.export_reader import verify_export
from xtremedistil_ner.tagging.tagger import Tagger


@pytest.fixture(params=["bilstm", "transformer"])
def export(request, tmp_path):
    save = save_tiny_transformer if request.param == "transformer" else save_tiny_student
    return make_export(tmp_path, save=save, formats=("onnx", "triton"))


def test_the_repository_has_the_graph_under_version_1_and_the_manifest_vouches_for_it(export):
    model = export / FOLDER / "xner" / "1" / "model.onnx"
    assert model.read_bytes() == (export / "onnx" / "model.onnx").read_bytes()
    assert f"{FOLDER}/xner/config.pbtxt" in verify_export(export)["files"]


@pytest.mark.peers
def test_the_configuration_is_triton_s_and_fits_the_graph(export):
    """`max_batch_size` above 0 leaves the batch out of the dimensions.

    Needs `tritonclient[grpc]`, which does not fit beside the pinned packages: install it into an environment of its own
    that sees theirs.
    """
    schema = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    config = text_format.Parse((export / FOLDER / "xner" / "config.pbtxt").read_text("utf-8"), schema.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size > 0) == ("xner", "onnxruntime", True)
    graph = onnxruntime.InferenceSession(str(export / FOLDER / "xner" / "1" / "model.onnx"))
    assert [value.name for value in config.input] == [value.name for value in graph.get_inputs()]
    assert [value.name for value in config.output] == [value.name for value in graph.get_outputs()]
    assert {value.data_type for value in config.input} == {schema.TYPE_INT64}
    assert [list(value.dims) for value in config.input] == [[-1], [-1]]
    assert (config.output[0].data_type, list(config.output[0].dims)) == (schema.TYPE_FP32, [-1, len(SCHEME.tags)])


def test_no_folder_of_an_export_takes_the_place_of_a_package_that_torch_looks_for(export):
    """Python takes a folder of the current directory for a package of its name where that one is not installed."""
    assert not (export / "triton").exists()


def test_an_export_whose_manifest_names_the_folder_of_before_is_still_read(export):
    (export / FOLDER).rename(export / "triton")
    manifest = (export / "manifest.json").read_text(encoding="utf-8")
    (export / "manifest.json").write_text(manifest.replace(f"{FOLDER}/", "triton/"), encoding="utf-8")
    assert Tagger.from_pretrained(export).tag([""]) == [[]]
