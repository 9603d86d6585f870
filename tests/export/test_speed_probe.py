"""The short probe of an export: what it records, and when a report shows it. Its numbers are not tested."""

from __future__ import annotations

import json
import shutil

import pytest

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.export.speed_probe import measure_speed
from xtremedistil_ner.recipe.data_sections import CorpusSection
from xtremedistil_ner.report.speed import read_speed
from xtremedistil_ner.run_folder.artefacts import published_fingerprint
from xtremedistil_ner.run_folder.files import RunFolder

TITLE = "Speed, a short probe"


@pytest.fixture
def run(finished_run, tmp_path):
    shutil.copytree(finished_run / "run", tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_a_run_has_a_probe_of_its_export_and_its_pages_show_it(run):
    record = json.loads((run.bench / "probe.json").read_text(encoding="utf-8"))
    assert list(record["exports"].values()) == [published_fingerprint(run.export)]
    assert record["workload"]["sentences"] == 16, "dev of two languages"
    manifest = json.loads((run.export / "manifest.json").read_text(encoding="utf-8"))
    assert {f"onnx/model{'_int8' * (name == 'int8')}.onnx" for name in record["graphs"]} == {
        file for file in manifest["files"] if file.endswith(".onnx")
    }
    for measured in record["graphs"].values():
        assert all(number > 0 for number in measured.values())
    for page in (run.report_markdown, run.report_html):
        text = page.read_text(encoding="utf-8")
        assert TITLE in text
        assert record["machine"]["processor"].split()[0] in text


def test_a_benchmark_of_tagging_or_another_export_takes_the_place_of_the_probe(run):
    assert [table.title for table in read_speed(run)] == [TITLE]
    path = run.bench / "probe.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    (run.bench / "tag.json").write_text(json.dumps({**record, "stage": "tag"}), encoding="utf-8")
    assert read_speed(run) == [], "a record without tables"
    (run.bench / "tag.json").unlink()
    path.write_text(json.dumps({**record, "exports": {"export": "another"}}), encoding="utf-8")
    assert read_speed(run) == []


def test_without_text_nothing_is_measured(finished_run):
    corpus = open_corpus(CorpusSection(path=str(finished_run / "corpus")))
    assert measure_speed(finished_run / "run" / "export", "fingerprint", corpus, ()) is None
