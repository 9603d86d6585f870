"""The names inside a run folder."""

from __future__ import annotations

from xtremedistil_ner.run_folder.files import RunFolder


def test_every_name_of_a_run_is_distinct_and_inside_it(tmp_path):
    run = RunFolder(tmp_path)
    names = [run.recipe, run.teacher, run.soft_labels, run.student, run.report, run.report_markdown, run.export]
    names += [run.timings, run.work("train"), run.work("finetune")]
    assert len(set(names)) == len(names)
    assert all(path.is_relative_to(tmp_path) for path in names)
