"""A dataset fetched from a Hub: its commit is found out, its files come once, and only those that are needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from support.hub_mirror import COMMIT, write_mirror
from support.hub_server import serving

DATASET = "unimelb-nlp/wikiann"
NEXT_COMMIT = COMMIT[::-1]
PROGRAM = """
import json, sys
from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.errors import XnerError
from xtremedistil_ner.recipe.data_sections import CorpusSection, HubCorpusSection

def opened(dataset, *languages):
    return open_corpus(CorpusSection(hub=HubCorpusSection(id=dataset), languages=languages))

corpus = opened(*sys.argv[1:])
found = {language: len(corpus.sentences(language, "train")) for language in corpus.languages}
try:
    opened("org/private")
except XnerError as error:
    refusal = f"{type(error).__name__}: {error}"
sys.stdout.write(json.dumps([corpus.source["revision"], found, refusal]))
"""


def sentences(count, *where):
    return [([f"{'-'.join(where)}-{number}", "came"], ["B-PER", "O"]) for number in range(count)]


@pytest.fixture
def hub(tmp_path):
    with serving(DATASET) as server:
        for commit, count in ((COMMIT, 1), (NEXT_COMMIT, 2)):
            sizes = {"train": count, "dev": 1, "test": 1}
            corpus = {
                language: {split: sentences(size, language, split) for split, size in sizes.items()}
                for language in ("en", "no", "xx")
            }
            server.commits[commit] = write_mirror(tmp_path / commit, corpus)
        server.branches["main"] = COMMIT
        yield server


def read(hub, tmp_path, *languages, offline="0"):
    """Open the dataset in a process of its own; what it says, and what it downloaded."""
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": offline}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, DATASET, *languages],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    return *json.loads(done.stdout), hub.downloads()


def files(language, *splits):
    return [f"{language}/{split}-00000-of-00001.parquet" for split in splits]


@pytest.mark.slow
def test_files_of_a_commit_come_once_and_only_those_of_the_recipes_languages(hub, tmp_path):
    commit, found, refusal, downloads = read(hub, tmp_path, "no")
    assert (commit, found) == (COMMIT, {"no": 1})
    assert downloads == ["README.md", *files("no", "test", "train", "validation")]
    assert refusal.startswith("CorpusError: org/private: no such folder, and no such dataset on the Hub")

    commit, found, _, downloads = read(hub, tmp_path, "no", "en")
    assert (commit, found, downloads) == (COMMIT, {"no": 1, "en": 1}, files("en", "test", "train", "validation"))

    hub.branches["main"] = NEXT_COMMIT
    commit, found, refusal, downloads = read(hub, tmp_path, "no", offline="1")
    assert (commit, found, downloads) == (COMMIT, {"no": 1}, [])
    assert refusal.startswith("ResourceError: org/private at main: not in the Hub's cache")

    commit, found, _, downloads = read(hub, tmp_path, "no")
    assert (commit, found, downloads) == (NEXT_COMMIT, {"no": 2}, files("no", "train"))
