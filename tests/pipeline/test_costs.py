"""What stages cost: counted words, and the peak of memory where the system tells it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.processes.peak_memory import peak_bytes, reset_peaks
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.report.stored import read_report
from xtremedistil_ner.run_folder.files import RunFolder, read_timings


@pytest.fixture(scope="module")
def timings(finished_run):
    return read_timings(RunFolder(finished_run / "run"))


def test_the_words_of_a_stage_are_those_that_it_trained_on_or_labelled(timings, finished_run):
    """The teacher reads each training sentence once, in one epoch of whole batches."""
    corpus = open_corpus(load_recipe(finished_run / "tiny.yaml").corpus)
    train = [len(sentence.words) for code in corpus.languages for sentence in corpus.sentences(code, "train")]
    assert timings["finetune"]["words"] == sum(train)
    transfer = read_report(finished_run / "run")["data"]["transfer"]
    assert timings["pseudolabel"]["words"] == sum(counts["words"] for counts in transfer.values())
    assert timings["train"]["words"] > 0


@pytest.mark.skipif(not reset_peaks(), reason="the system does not reset the peak of a process's memory")
def test_a_peak_is_that_since_the_last_reset():
    held = np.ones(2**26, dtype=np.uint8)
    with_array = peak_bytes()
    size = held.nbytes
    del held
    assert with_array > size
    reset_peaks()
    assert peak_bytes() <= with_array - size // 2


def test_the_pages_show_the_costs_of_stages_that_end_after_the_report(finished_run):
    run = RunFolder(finished_run / "run")
    assert "export" not in json.loads(run.report.read_text(encoding="utf-8"))["run"]["stages"]
    stages = run.report_markdown.read_text(encoding="utf-8").partition("## Time and size")[2]
    assert "| evaluate |" in stages
    assert "| export |" in stages
