"""The first hour on a GPU: what can be known of its scripts without one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from support.tiny_run import labelled_text, write_corpus

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))  # benchmarks are no part of the package

PIECES = ["probe", "demo", "label", "finetune", "students", "memory", "real"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The folder that travels, made of a tiny corpus and so much text that it has to be sampled."""
    folder = tmp_path_factory.mktemp("gpu")
    corpus = write_corpus(folder / "corpus")
    (folder / "text").mkdir()
    for language in ("en", "no"):
        lines = (f"nobody of Paris met {index * 7919} and {index**3} in Oslo\n" for index in range(2000))
        (folder / "text" / f"{language}.txt").write_text("".join(lines), encoding="utf-8")
    characters = [chr(code) for code in range(33, 127)]
    words = sorted({word for word in labelled_text(24).split() if len(word) > 1})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters), *words]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    command = [sys.executable, ROOT / "benchmarks" / "gpu_data.py", corpus, folder / "text", folder / "vocab.txt"]
    subprocess.run([*command, folder / "data", "--megabytes", "0.02"], check=True, stdout=subprocess.DEVNULL)
    return folder / "data"


def run_pieces(data, out, *pieces):
    command = [ROOT / "benchmarks" / "gpu.sh", "--device", "cpu", "--data", data, "--out", out, "--work", out / "work"]
    env = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *pieces], env=env, capture_output=True, text=True, check=False)


def test_the_folder_that_travels_has_a_share_of_every_file_and_is_no_larger_than_asked(data):
    files = sorted(path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file())
    splits = [f"corpus/{language}/{split}.tsv.xz" for language in ("en", "no") for split in ("dev", "test", "train")]
    assert files == [*splits, "text/en.txt.xz", "text/no.txt.xz", "vocab.txt"]
    assert sum((data / name).stat().st_size for name in files) <= 20_000


def test_every_piece_has_its_function_and_the_script_runs_them_in_order():
    main = import_module("benchmarks.gpu.__main__")
    assert list(main.PIECES) == PIECES
    for piece, module in main.PIECES.items():
        assert callable(getattr(import_module(f"benchmarks.gpu.{module}"), piece))
    script = (ROOT / "benchmarks" / "gpu.sh").read_text(encoding="utf-8")
    assert re.search(r"\|\| pieces=\((.*)\)", script)[1].split() == PIECES


def test_the_first_piece_leaves_json_and_a_table_on_cpu(data, tmp_path):
    done = run_pieces(data, tmp_path, "probe")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu-probe.json").read_text(encoding="utf-8"))
    assert {row["found"] for row in found["rows"] if row["what"].startswith("the same step")} == {"same bytes"}
    assert "\n## probe\n" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_a_piece_that_fails_says_so_and_the_next_one_goes_on(tmp_path):
    done = run_pieces(tmp_path / "missing", tmp_path, "label", "finetune")
    assert done.returncode == 1
    for piece in ("label", "finetune"):
        assert "gpu_data.py" in json.loads((tmp_path / f"gpu-{piece}.json").read_text(encoding="utf-8"))["error"]


@pytest.mark.slow
@pytest.mark.parametrize("piece", PIECES[1:])
def test_every_other_piece_runs_on_cpu(piece, data, tmp_path):
    done = run_pieces(data, tmp_path, piece)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / f"gpu-{piece}.json").read_text(encoding="utf-8"))["rows"]
    assert rows and not [row for row in rows if "error" in row]


def test_the_hosts_part_of_labelling_is_measured_and_set_against_a_gpu(data):
    command = [sys.executable, "-m", "benchmarks.label_host", data / "text", data / "vocab.txt"]
    options = ["--sentences", "40", "--rounds", "1"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("40 sentences, ")
    rows = [line.split(" | ") for line in lines if line.startswith("| ")]
    assert {row[0].removeprefix("| ") for row in rows} >= {"read", "tokenise", "batch", "write", "all of it"}
    assert [line.partition(":")[0] for line in lines[-5:]] == [
        "device",
        "tokenise, batch, write, on 16 cores",
        "all of it, on 16 cores",
        "a reader, on 15 cores",
        "the labeller, on 1 cores",
    ]
