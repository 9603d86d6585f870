"""A few mutated inputs of each kind through the command line; `stress/mutations.py` does thousands."""

from __future__ import annotations

import pytest
from stress.cases import make_template
from stress.inputs import KINDS
from stress.mutations import Findings, run_kind

INPUTS = 25
SEED = 0


@pytest.fixture(scope="module")
def work(finished_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stress")
    make_template(folder, finished_run / "run")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_input_ends_with_a_short_message_and_touches_nothing_else(kind, work, tmp_path):
    tally = run_kind(kind, work, indices=range(INPUTS), seed=SEED, findings=Findings(tmp_path, work))
    assert tally.inputs >= INPUTS - 5, "names that no file can have"
    findings = [file.read_text(encoding="utf-8") for file in tmp_path.glob("*/finding.txt")]
    assert not findings, "\n\n".join(findings)
