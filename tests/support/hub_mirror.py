"""Dataset repositories as the Hub has `unimelb-nlp/wikiann`, written with nothing of ours or of `datasets`."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet

WIKIANN_NAMES = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SPLITS = {"train": "train", "dev": "validation", "test": "test"}

Sentences = list[tuple[list[str], list[str]]]


def write_table(path: Path, sentences: Sentences, *, names=WIKIANN_NAMES, embed=False, words="tokens", tags="ner_tags"):
    """A parquet file of sentences; tags are numbers in the order of `names`, or text where that is None.

    `embed`: the file itself names the numbers, as `datasets` writes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [tags if names is None else [names.index(tag) for tag in tags] for _, tags in sentences]
    value = pyarrow.string() if names is None else pyarrow.int64()
    table = pyarrow.table(
        {
            words: pyarrow.array([words for words, _ in sentences], pyarrow.list_(pyarrow.string())),
            tags: pyarrow.array(rows, pyarrow.list_(value)),
            "langs": pyarrow.array([["xx"] * len(words) for words, _ in sentences], pyarrow.list_(pyarrow.string())),
        }
    )
    if embed:
        label = {"names": list(names), "_type": "ClassLabel"}
        text = {"dtype": "string", "_type": "Value"}
        features = {
            words: {"feature": text, "_type": "List"},
            tags: {"feature": label, "_type": "List"},
            "langs": {"feature": text, "_type": "List"},
        }
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, path)


def write_card(folder: Path, configs: dict[str, str], *, names=WIKIANN_NAMES, splits=("validation", "test", "train")):
    """README.md with the folder of each configuration; `names` None: it says nothing of columns."""
    lines = ["---", "language:", *(f"- {config}" for config in configs), "license:", "- unknown"]
    if names is not None:
        lines.append("dataset_info:")
        for config in configs:
            lines += [f"- config_name: {config}", "  features:", "  - name: tokens", "    sequence: string"]
            lines += ["  - name: ner_tags", "    sequence:", "      class_label:", "        names:"]
            lines += [f"          '{number}': {name}" for number, name in enumerate(names)]
            lines += ["  - name: langs", "    sequence: string"]
    lines.append("configs:")
    for config, place in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split in splits:
            lines += [f"  - split: {split}", f"    path: {place}/{split}-*"]
    lines += ["---", "", "# Dataset", ""]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def write_mirror(
    folder: Path, corpus: dict[str, dict[str, Sentences]], *, names=WIKIANN_NAMES, card_names=WIKIANN_NAMES, **options
) -> Path:
    """A repository with one configuration per language; `corpus` has sentences by language and by train, dev, test."""
    for language, splits in corpus.items():
        for split, sentences in splits.items():
            path = folder / language / f"{SPLITS[split]}-00000-of-00001.parquet"
            write_table(path, sentences, names=names, **options)
    write_card(folder, {language: language for language in corpus}, names=card_names)
    return folder


def hub_cache(folder: Path, dataset_id: str, *, commit: str = COMMIT) -> Path:
    """Where the Hub's cache in `folder` has a snapshot of a dataset, which its branch `main` is at."""
    place = folder / f"datasets--{dataset_id.replace('/', '--')}"
    (place / "refs").mkdir(parents=True, exist_ok=True)
    (place / "refs" / "main").write_text(commit, encoding="utf-8")
    return place / "snapshots" / commit
