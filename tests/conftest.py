"""Settings that must stand before torch or the tokenizers are imported: one thread, no network."""

from __future__ import annotations

import os
import resource
from contextlib import contextmanager

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # a second OpenMP thread beside a busy core makes a test 7 to 10 times slower
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture
def file_size_limit():
    """A block in which no file grows beyond some bytes: a full disk for whoever may not mount one."""

    @contextmanager
    def limited(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A folder with a corpus, `tiny.yaml`, and `run`, its finished run folder. Copy what you change."""
    from support.tiny_run import make_finished_run  # torch is heavy; tests without it must not pay

    return make_finished_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory):
    """A tiny encoder as mBERT is laid out. Copy what you change."""
    from support.tiny_teacher import save_bert

    return save_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def xlm_roberta_folder(tmp_path_factory):
    """A tiny encoder as XLM-R is laid out. Copy what you change."""
    from support.tiny_teacher import save_xlm_roberta

    return save_xlm_roberta(tmp_path_factory.mktemp("xlm-roberta"))
