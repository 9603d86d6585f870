"""The folder that `benchmarks/gpu.sh` takes along to a bare machine without network: text, a vocabulary, wheels.

    python benchmarks/gpu_data.py CORPUS TEXT vocab.txt runs/gpu-data --wheels 3.12

CORPUS is a folder of labelled languages, TEXT one of raw text, as `xner` reads them. If they do not fit into
`--megabytes`, every file keeps a random sample of its sentences. `--wheels` adds the packages that a machine with
torch and transformers may lack, for that version of Python, in the versions of `constraints.txt`.
"""

from __future__ import annotations

import argparse
import lzma
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from xtremedistil_ner.corpus.labelled import LabelledCorpus, open_corpus
from xtremedistil_ner.corpus.split import SPLITS
from xtremedistil_ner.corpus.transfer import held_out_keys, iter_transfer, transfer_languages
from xtremedistil_ner.recipe.data_sections import CorpusSection, TransferSection

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    *("annotated-types", "datasets", "dill", "multiprocess", "pydantic", "pydantic-core", "ruamel.yaml"),
    *("typing-extensions", "typing-inspection", "xxhash", "zstandard"),
)
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
Files = dict[Path, list[str]]
"""Sentences by file, each as the text that stands for it there."""


def main() -> None:
    """Make the folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("corpus", "text", "vocabulary", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--megabytes", type=float, default=55.0, help="of the whole folder, at most")
    parser.add_argument("--wheels", metavar="PYTHON_VERSION", help="such as 3.12")
    given = parser.parse_args()
    shutil.rmtree(given.out, ignore_errors=True)
    given.out.mkdir(parents=True)
    shutil.copyfile(given.vocabulary, given.out / "vocab.txt")
    if given.wheels:
        download_wheels(given.out / "wheels", python_version=given.wheels)
    labelled = open_corpus(CorpusSection(path=str(given.corpus)))
    files = {**read_labelled(labelled), **read_text(labelled, given.text)}
    room = given.megabytes * 1e6 - size_of(given.out)
    share = write_sample(files, given.out, room=room)
    print(f"{given.out}: {size_of(given.out) / 1e6:.1f} MB, {share:.0%} of the sentences")  # noqa: T201


def read_labelled(corpus: LabelledCorpus) -> Files:
    """Labelled sentences, a word and its tag a line."""
    return {
        Path("corpus", language, f"{split}.tsv.xz"): [
            "".join(f"{word}\t{tag}\n" for word, tag in zip(sentence.words, sentence.tags or (), strict=True)) + "\n"
            for sentence in corpus.sentences(language, split)
        ]
        for language in corpus.languages
        for split in SPLITS
        if corpus.has(language, split)
    }


def read_text(corpus: LabelledCorpus, folder: Path) -> Files:
    """Raw sentences, one a line, without those of dev and test."""
    section, held_out = TransferSection(path=str(folder), training_text=False), held_out_keys(corpus)
    return {
        Path("text", f"{language}.txt.xz"): [
            " ".join(sentence.words) + "\n" for sentence in iter_transfer(corpus, section, language, held_out=held_out)
        ]
        for language in transfer_languages(corpus, section)
    }


def write_sample(files: Files, out: Path, *, room: float) -> float:
    """Write as large a share of all files as fits; the share. Units: `room` in bytes."""
    share = 1.0
    while True:
        for path, sentences in files.items():
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            with lzma.open(out / path, "wt", encoding="utf-8") as stream:
                stream.writelines(sample(sentences, share))
        written = sum((out / path).stat().st_size for path in files)
        if written <= room:
            return share
        if room <= 0 or share < 1e-3:
            raise SystemExit(f"{written / 1e6:.1f} MB of sentences do not fit. Raise --megabytes.")
        share *= 0.95 * room / written


def sample(sentences: Sequence[str], share: float) -> list[str]:
    """A share of some sentences in their order, at least one of them; the same ones each time."""
    count = max(1, int(share * len(sentences)))
    places = sorted(random.Random(13).sample(range(len(sentences)), min(count, len(sentences))))
    return [sentences[place] for place in places]


def download_wheels(folder: Path, *, python_version: str) -> None:
    """Fetch the wheels of `PACKAGES`, none of which is compiled here."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--implementation", "cp", "--python-version", python_version, "--dest", str(folder)]
    command += [f"--platform={platform}" for platform in PLATFORMS]
    subprocess.run([*command, "--constraint", str(ROOT / "constraints.txt"), *PACKAGES], check=True)


def size_of(folder: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
