"""Models opened, scored and exported where there is a device: the scores and the graphs of the CPU."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
import torch
from support.pretended_device import DEVICE, pretended_device
from support.tiny_distillation import WORDS, open_tiny_distillation
from support.tiny_student import SCHEME as STUDENT_SCHEME
from support.tiny_student import make_cnn, make_network, save_tiny_student
from support.tiny_teacher import SCHEME, load, save_bert
from support.tiny_transformer import save_tiny_transformer

from xtremedistil_ner.evaluation.open_model import open_model
from xtremedistil_ner.export.folder import write_export
from xtremedistil_ner.export.onnx_bert import build_bert_graph
from xtremedistil_ner.export.onnx_graph import build_graph
from xtremedistil_ner.export.teacher_graph import int8_predictor, measure_int8
from xtremedistil_ner.models.crf import Crf
from xtremedistil_ner.models.voting import Vote, save_votes

SAVERS = {
    "bilstm": lambda folder: save_tiny_student(folder, "direct", make=make_network, crf=Crf(STUDENT_SCHEME)),
    "cnn": lambda folder: save_tiny_student(folder, make=make_cnn),
    "transformer": save_tiny_transformer,
    "teacher": save_bert,
    "voters": lambda folder: save_votes(folder, [Vote(load(save_bert(folder.parent / name)), 2.0) for name in "ab"]),
}


@pytest.mark.parametrize(("name", "cut_at"), [*((name, None) for name in SAVERS), ("voters", 5)])
def test_a_model_scores_as_on_the_cpu(tmp_path, name, cut_at):
    """In float32; the device's `auto` would be bf16."""
    SAVERS[name](tmp_path / "model")

    def scored():
        return open_model(tmp_path / "model", precision="float32", max_pieces=12)

    expected = scored().word_logits(WORDS, cut_at)
    with pretended_device() as waits:
        model = scored()
        on_device = model.word_logits(WORDS, cut_at)
    assert any("a copy to the CPU" in wait for wait in waits), "it was computed there"
    assert all(map(np.array_equal, astuple(on_device), astuple(expected)))


@pytest.mark.parametrize("name", ["bilstm", "cnn", "transformer"])
def test_an_export_is_written_where_there_is_a_device_with_the_cpus_bytes(tmp_path, name):
    SAVERS[name](tmp_path / "model")

    def export(folder):
        folder.mkdir()
        write_export(tmp_path / "model", folder, report=None, licence="other", recipe_name="tiny")
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    expected = export(tmp_path / "here")
    with pretended_device():
        assert export(tmp_path / "there") == expected


@pytest.mark.parametrize("kind", ["bilstm", "cnn", "transformer"])
def test_a_student_that_lies_on_the_device_has_the_cpus_graph(store, teachers, kind):
    graphs = [
        build_graph(open_tiny_distillation(store, teacher, kind).network, SCHEME, max_pieces=16, transitions=None)
        for teacher in teachers.values()
    ]
    assert graphs[0].SerializeToString() == graphs[1].SerializeToString()


def test_a_teacher_that_lies_on_the_device_has_the_cpus_graph_and_int8_labels(teachers):
    graphs = [build_bert_graph(teacher.model, metadata={}).SerializeToString() for teacher in teachers.values()]
    assert graphs[0] == graphs[1]
    costs = [measure_int8(own, int8_predictor(own), WORDS, batch_pieces=40) for own in teachers.values()]
    assert costs[0] == costs[1] and costs[0].words > 0
    assert teachers["cuda"].model.device == DEVICE != torch.device("cpu")
