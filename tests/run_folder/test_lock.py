"""What goes from a run folder, and what stays."""

from __future__ import annotations

import pytest

from xtremedistil_ner.run_folder.lock import remove_work

OWN = (
    "precision.json",
    "checkpoints/checkpoint-000-000000001/state.safetensors",
    "languages/en/vocabulary/vocab.txt",
    "languages/en/.transfer.writing/words.npy",
    "encoded/piece_offsets.npy",
    "students/en/tokenizer_config.json",
)


def put(work, *names):
    for name in names:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).touch()


def test_the_state_of_a_finished_stage_goes(tmp_path):
    put(tmp_path / "train", *OWN)
    remove_work(tmp_path / "train")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["mine.txt", "checkpoints/mine.txt", "students/en/mine.txt"])
def test_state_with_a_file_that_no_stage_wrote_stays(tmp_path, name):
    put(tmp_path / "train", *OWN, name)
    remove_work(tmp_path / "train")
    assert all((tmp_path / "train" / kept).exists() for kept in (*OWN, name))
