"""`xner bench`: ratios are those of single rounds, records are whole JSON, tables show what was measured."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from support.tiny_export import make_export

from xtremedistil_ner.bench import label, models, rounds, tag, train
from xtremedistil_ner.bench.memory import tagging_memory
from xtremedistil_ner.bench.rounds import Contender, run_rounds, spread
from xtremedistil_ner.bench.run import describe_machine, run_bench
from xtremedistil_ner.bench.settings import BenchSettings
from xtremedistil_ner.bench.workload import Workload, batch_of, load_workload
from xtremedistil_ner.errors import CorpusError, UsageError
from xtremedistil_ner.processes.precision import has_native_bf16
from xtremedistil_ner.report.speed import read_records, speed_tables
from xtremedistil_ner.run_folder.files import RunFolder

BFLOAT16 = {"bfloat16"} if has_native_bf16(torch.device("cpu")) else set()
TINY = {
    "vocab_size": 200,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


class FakeClock:
    """A clock that moves when a contender works."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def work(self, name, seconds, order):
        def run(number):
            order.append((number, name))
            self.now += seconds(number) if callable(seconds) else seconds

        return run


def test_a_ratio_is_the_median_of_the_ratios_of_single_rounds():
    """The machine is 1, 10 and 100 times slower in its three rounds: medians of times would say 20 or nothing."""
    clock, order = FakeClock(), []
    slowness = [1.0, 10.0, 100.0]
    contenders = [
        Contender("fast", clock.work("fast", lambda number: 1.0 * slowness[number], order), 2),
        Contender("slow", clock.work("slow", lambda number: (4.0 + number) * slowness[number], order), 1),
    ]
    timings = run_rounds(contenders, rounds=3, clock=clock)
    assert timings.ratio("fast", "slow") == spread([8.0, 10.0, 12.0])
    assert timings.per_s("slow")["median"] == pytest.approx(1 / 50)
    assert [name for _, name in order[4:]] == ["fast", "slow", "slow", "fast", "fast", "slow"]
    assert len(timings.other_load) == 3


def test_what_is_fast_runs_often_enough_to_be_timed_and_what_is_slow_once_a_round():
    clock, order = FakeClock(), []
    contenders = [
        Contender("fast", clock.work("fast", 0.01, order), 1),
        Contender("slow", clock.work("slow", 5.0, order), 1),
    ]
    timings = run_rounds(contenders, rounds=4, clock=clock)
    assert [name for _, name in order].count("slow") == 2 + 4
    assert [name for _, name in order].count("fast") == 2 + 4 * 10
    np.testing.assert_allclose(timings.seconds["fast"], 0.01)


def test_what_times_itself_is_believed():
    contender = Contender("a", lambda number: 3.0, 6, times_itself=True)
    assert run_rounds([contender], rounds=3).seconds == {"a": [0.5, 0.5, 0.5]}


def test_a_budget_ends_the_rounds_but_not_before_the_third():
    clock, order = FakeClock(), []
    timings = run_rounds([Contender("a", clock.work("a", 1.0, order), 1)], rounds=50, clock=clock, budget_s=0.0)
    assert len(timings.seconds["a"]) == 3


def test_spread_has_median_and_quartiles():
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == {"median": 3.0, "q1": 2.0, "q3": 4.0}


def test_parts_of_a_workload_have_no_sentence_in_common():
    workload = Workload("w", False, tuple((str(number),) for number in range(100)))
    seen = [words for number in range(10) for words in workload.part(number, 10)]
    assert len(set(seen)) == 100
    assert workload.part(10, 10) == workload.part(0, 10)
    assert workload.texts(0, 2) == ["0", "1"]


def test_the_demo_is_a_synthetic_workload_and_a_missing_split_is_named(tmp_path):
    workload = load_workload("demo", split="test", languages=("en", "de"))
    assert workload.synthetic
    assert len(workload.sentences) > 100
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "train.tsv").write_text("Rome\tB-LOC\n\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="no sentence in test"):
        load_workload(str(tmp_path), split="test")


def test_batches_are_running_text_without_padding():
    pieces = np.arange(100, dtype=np.int32)
    assert batch_of(pieces, 0, batch=2, length=3).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert batch_of(pieces, 1, batch=2, length=3).tolist() == [[6, 7, 8], [9, 10, 11]]
    assert batch_of(pieces, 0, batch=64, length=4).shape == (64, 4)


@pytest.fixture
def quick(monkeypatch):
    """Everything as small as it goes: what is tested is not speed."""
    monkeypatch.setattr(rounds, "_LEAST_S", 0.0)
    monkeypatch.setattr(tag, "_TEXTS", 8)
    monkeypatch.setattr(tag, "_SLOW_TEXTS", 2)
    monkeypatch.setattr(tag, "_CALLS", 10)
    monkeypatch.setattr(tag, "_MEMORY_TEXTS", 10)
    monkeypatch.setattr(label, "_SENTENCES", {"cpu": 40})
    monkeypatch.setattr(train, "_SENTENCES", 200)
    monkeypatch.setitem(models.SHAPES, "tiny", TINY)


def settings(**changes):
    given = {
        "stage": "tag",
        "teacher": "tiny",
        "against": (),
        "corpus": "demo",
        "split": "test",
        "batches": (1, 2),
        "lengths": (4,),
        "threads": 1,
        "rounds": 3,
        "device": "cpu",
    }
    return BenchSettings(**{**given, **changes})


def silent(event):
    pass


def test_a_machine_has_a_name_and_versions():
    machine = describe_machine(settings())
    assert machine["processor"]
    assert machine["versions"]["torch"] == torch.__version__


def test_tagging_is_measured_in_every_runtime_and_shown(quick, tmp_path):
    export = make_export(tmp_path / "tiny", formats=("hf", "onnx"))
    record, written = run_bench([export], settings(against=("hf-pipeline",)), tmp_path / "bench", silent)
    assert json.loads(written.read_text(encoding="utf-8")) == record
    assert [(cell["batch"], cell["length"]) for cell in record["grid"]] == [(1, 4), (2, 4)]
    cell = record["grid"][0]
    assert {"export ONNX Runtime float32", "export torch float32", "tiny torch float32", "tiny ONNX Runtime int8"} <= {
        *cell["sentences_per_s"]
    }
    assert ("tiny torch bfloat16" in cell["sentences_per_s"]) == bool(BFLOAT16)
    assert cell["fastest_teacher"].startswith("tiny ")
    assert set(cell["faster_than_teacher"]["export torch float32"]) >= {"tiny torch float32", "tiny ONNX Runtime int8"}
    assert record["models"]["tiny"]["random_weights"]
    assert record["workload"]["synthetic"]
    assert record["memory_bytes"]["export float32"] > 10**6
    assert "transformers pipeline of tiny" in record["raw_text"]["faster_than"]["export float32"]
    shown = "\n".join(table.title + table.note + str(table.rows) for table in speed_tables(record))
    assert "random weights" in shown
    assert "Synthetic text" in shown


def test_labelling_is_measured_against_batches_in_the_order_of_the_text(quick, tmp_path):
    export = make_export(tmp_path / "tiny", formats=("hf", "onnx"))
    record, _ = run_bench([export], settings(stage="label"), tmp_path / "bench", silent)
    names = {"by length, float32", "by length, ONNX Runtime int8", *(f"by length, {name}" for name in BFLOAT16)}
    assert set(record["faster_than_baseline"]) == names
    useful = record["useful_pieces"]
    assert useful[record["baseline"]] < useful["by length, float32"] <= 1
    (table,) = speed_tables(record)[1:]
    assert len(table.rows) == len(names) + 1


def test_training_is_measured_against_random_padded_batches(quick, tmp_path):
    export = make_export(tmp_path / "tiny", formats=("onnx",))
    record, _ = run_bench([export], settings(stage="train", teacher=None, batches=(256,)), tmp_path / "bench", silent)
    (cell,) = record["cells"]
    assert (cell["name"], cell["batch"]) == ("export", 256)
    assert 0 < cell["loader_share"] < 1
    assert cell["faster_than_baseline"]["median"] > 0
    assert len(speed_tables(record)) == 2


def test_what_cannot_be_measured_is_refused(quick, tmp_path):
    export = make_export(tmp_path / "tiny")
    for changes, message in (
        ({"against": ("flair",)}, "flair: no such peer"),
        ({"teacher": "nothing"}, "neither a folder nor one of the shapes"),
        ({"stage": "label", "teacher": None}, "--stage label times a teacher"),
    ):
        with pytest.raises(UsageError, match=message):
            run_bench([export], settings(**changes), tmp_path, silent)
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="torch sees no GPU"):
            run_bench([export], settings(device="cuda"), tmp_path, silent)


def test_memory_is_that_of_the_tagging_process_alone(tmp_path):
    """Not that of this process, which has torch and whatever else the tests need."""
    ballast = np.ones(2**26)  # 512 MB
    assert tagging_memory(make_export(tmp_path / "tiny"), "float32", ["Anna lives in Paris."]) < 200e6
    assert ballast.nbytes == 2**29


def test_a_runs_report_shows_what_was_measured_of_the_export_it_has(quick, tmp_path):
    folder = RunFolder(tmp_path / "run")
    make_export(folder.path, formats=("onnx",), fingerprint="f1")
    record, _ = run_bench([folder.export], settings(teacher=None, batches=(1,)), folder.bench, silent)
    assert read_records(folder) == [json.loads(json.dumps(record))]
    titles = [table.title for table in speed_tables(record)]
    assert {"Machine, stage tag", "Raw text", "One text at a time", "Sizes"} <= {*titles}
    (folder.bench / "tag.json").write_text(json.dumps({**record, "exports": {"export": "f0"}}), encoding="utf-8")
    (folder.bench / "label.json").write_text("[]", encoding="utf-8")
    assert read_records(folder) == []
