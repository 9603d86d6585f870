"""What goes from a run folder, and what stays."""

from __future__ import annotations

import pytest

from xtremedistil_ner.errors import ResourceError
from xtremedistil_ner.run_folder.artefacts import publish
from xtremedistil_ner.run_folder.lock import remove_work, require_own_work

PUBLISHED = ("checkpoints/checkpoint-000-000000001", "languages/en/vocabulary", "students/en", "encoded")
BESIDE = ("precision.json", "processes.json", "precision.json.tmp", "languages/en/.transfer.writing/words.npy")


@pytest.fixture
def work(tmp_path):
    """The unfinished state of a stage, and what a kill left half written."""
    for name in PUBLISHED:
        with publish(tmp_path / "train" / name, {"fingerprint": "a"}) as folder:
            (folder / "state").touch()
    for name in BESIDE:
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / name).touch()
    return tmp_path / "train"


def test_the_state_of_a_finished_stage_goes(work):
    require_own_work(work)
    remove_work(work)
    assert not list(work.parent.iterdir())


@pytest.mark.parametrize("name", ["mine.txt", "checkpoints/mine.txt", "students/en/mine.txt", "mine/deep/mine.txt"])
def test_state_with_a_file_that_no_stage_wrote_stays(work, name):
    (work / name).parent.mkdir(parents=True, exist_ok=True)
    (work / name).touch()
    with pytest.raises(ResourceError, match=f"{name}: no run wrote it"):
        require_own_work(work)
    remove_work(work)
    assert all((work / kept).exists() for kept in (*PUBLISHED, *BESIDE, name))
