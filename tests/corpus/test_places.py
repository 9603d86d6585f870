"""Corpora and text at URLs: fetched once, then read like a folder."""

from __future__ import annotations

import base64
import http.server
import threading
from functools import partial

import fsspec
import pytest
from fsspec.registry import known_implementations

from corpus.test_labelled import opened, write
from xtremedistil_ner.corpus.check import check_corpus, corpus_stats
from xtremedistil_ner.corpus.folder import is_split_file, is_text_file
from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.corpus.places import cache_folder, demo_path, mirror_file, mirror_folder
from xtremedistil_ner.corpus.transfer import iter_transfer, transfer_hash, transfer_languages
from xtremedistil_ner.errors import CorpusError, ResourceError
from xtremedistil_ner.recipe.data_sections import CorpusSection, TransferSection


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    look_again()
    yield tmp_path / "cache"
    look_again()


def look_again():
    """What another process would do: one process looks at a URL once."""
    mirror_folder.cache_clear()
    mirror_file.cache_clear()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "corpus"
    write(folder / "en" / "train.tsv", "Ann/B-PER in/O Rome/B-LOC")
    write(folder / "en" / "dev.tsv", "Bob/B-PER left/O")
    write(folder / "zh-min-nan" / "test.tsv", "Cy/B-PER in/O Rome/B-LOC")
    (folder / "en.txt").write_text("New text .\nMore .\n", encoding="utf-8")
    (folder / "eo.jsonl").write_text('{"text": "Unu frazo ."}\n', encoding="utf-8")
    (folder / "en" / "notes.md").write_text("no data", encoding="utf-8")
    return folder


@pytest.fixture
def memory(folder):
    """The same corpus at a URL of fsspec's file system in memory; gives its file system and address."""
    filesystem = fsspec.filesystem("memory")
    filesystem.put(f"{folder}/", "/bucket/corpus", recursive=True)
    yield filesystem, "memory://bucket/corpus"
    filesystem.rm("/bucket", recursive=True)


class CountingServer(http.server.SimpleHTTPRequestHandler):
    """Serves a folder with listings, as a web server does, and notes what was fetched."""

    fetched: list[str]

    def do_GET(self):
        self.server.fetched.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def web(folder):
    pytest.importorskip("aiohttp")
    handler = partial(CountingServer, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.fetched = []
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_corpus_at_a_url_is_that_of_its_folder_and_reports_the_url(folder, memory):
    _, url = memory
    remote, local = opened(url), opened(folder)
    assert (remote.languages, remote.scheme) == (local.languages, local.scheme)
    for language in local.languages:
        for split in ("train", "dev", "test"):
            assert remote.sentences(language, split) == local.sentences(language, split)
            assert remote.content_hash(language, split) == local.content_hash(language, split)
    assert remote.source == {"path": url}


def test_only_files_of_a_corpus_are_fetched_into_the_cache(memory, cache):
    opened(memory[1])
    assert cache_folder().is_relative_to(cache)
    fetched = {path.name for path in cache.rglob("*") if path.is_file() and not path.name.startswith(".")}
    assert fetched == {"train.tsv", "dev.tsv", "test.tsv"}


def test_a_file_is_fetched_again_when_it_changed_and_only_then(memory, cache):
    filesystem, url = memory
    opened(url)
    times = {path: path.stat().st_mtime_ns for path in cache.rglob("*.tsv")}
    assert len(times) == 3
    filesystem.pipe("/bucket/corpus/en/dev.tsv", b"Dan\tB-PER\n")
    filesystem.rm("/bucket/corpus/zh-min-nan/test.tsv")
    look_again()
    corpus = opened(url)
    assert [sentence.words for sentence in corpus.sentences("en", "dev")] == [("Dan",)]
    assert corpus.languages == ("en",)
    untouched = [path for path, time in times.items() if path.exists() and path.stat().st_mtime_ns == time]
    assert [path.name for path in untouched] == ["train.tsv"]


def test_transfer_text_at_a_url_is_that_of_its_folder(folder, memory):
    corpus = opened(folder)
    remote, local = TransferSection(path=memory[1]), TransferSection(path=str(folder))
    assert transfer_languages(corpus, remote) == transfer_languages(corpus, local) == ("en", "eo", "zh-min-nan")
    for language in ("en", "eo"):
        assert transfer_hash(corpus, remote, language) == transfer_hash(corpus, local, language)
        assert list(iter_transfer(corpus, remote, language, held_out=set())) == list(
            iter_transfer(corpus, local, language, held_out=set())
        )


def test_one_file_at_a_url_is_text_of_the_one_language_named(folder, memory):
    section = TransferSection(path=f"{memory[1]}/eo.jsonl", languages=("eo",), training_text=False)
    found = list(iter_transfer(opened(folder), section, "eo", held_out=set()))
    assert [(s.id, s.language, s.words) for s in found] == [("eo.jsonl:1", "eo", ("Unu", "frazo", "."))]


def test_file_urls_are_read_in_place(folder, cache):
    assert opened(f"file://{folder}").languages == ("en", "zh-min-nan")
    assert not cache.exists()
    demo = CorpusSection(path=f"file://{demo_path()}", languages=("de",))
    assert open_corpus(demo).synthetic
    assert not opened(f"file://{folder}").synthetic


def test_web_servers_are_asked_for_a_file_once(web, folder):
    server, url = web
    assert opened(url).sentences("zh-min-nan", "test") == opened(folder).sentences("zh-min-nan", "test")
    assert server.fetched.count("/en/train.tsv") == 1
    assert "/en/notes.md" not in server.fetched
    look_again()
    opened(url)
    assert server.fetched.count("/en/train.tsv") == 1
    write(folder / "en" / "train.tsv", "Somebody/B-PER else/O")
    look_again()
    assert opened(url).sentences("en", "train")[0].words == ("Somebody", "else")


@pytest.fixture
def locked(folder):
    """A web server that asks for a password or a token; gives its host and port."""
    pytest.importorskip("aiohttp")
    handler = partial(LockedServer, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class LockedServer(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        allowed = f"Basic {base64.b64encode(b'user:SE@CRET').decode()}"
        if self.headers.get("Authorization") == allowed or self.path.endswith("?token=SECRET"):
            super().do_GET()
        else:
            self.send_error(401)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def test_a_password_is_used_and_named_nowhere(locked, folder):
    corpus = opened(f"http://user:SE%40CRET@{locked}")
    assert corpus.sentences("en", "train") == opened(folder).sentences("en", "train")
    assert corpus.name == corpus.source["path"] == f"http://{locked}"


def test_a_file_at_a_url_with_a_token_is_read(locked, folder):
    section = TransferSection(path=f"http://{locked}/en.txt?token=SECRET", languages=("en",), training_text=False)
    texts = iter_transfer(opened(folder), section, "en", held_out=set())
    assert [sentence.words for sentence in texts] == [("New", "text", "."), ("More", ".")]


@pytest.mark.parametrize(
    "address",
    [
        "http://user:SE%40CRETS@{host}",
        "http://user:SE/CRET@{host}",
        "http://user:SE?CRET@{host}/",
        "http://SECRET@{host}",
        "http://{host}?token=SECRETS",
        "memory://user:SECRET@none/corpus?token=SECRET",
        "nonsense://SECRET:SECRET@host",
        "zip://en::http://user:SECRETS@{host}/en.zip?token=SECRETS",
        "http://user:SE CRET@[::1:80",
    ],
)
def test_what_cannot_be_fetched_is_named_without_its_password_and_token(locked, folder, address):
    url = address.format(host=locked)
    text = TransferSection(path=url, languages=("en",))
    for read in (lambda: opened(url), lambda: transfer_languages(opened(folder), text), lambda: check_corpus(url)):
        with pytest.raises((CorpusError, ResourceError)) as caught:
            read()
        chain = [caught.value, caught.value.__cause__]
        assert not any(secret in f"{error!r}" for error in chain for secret in ("SE", "CRET", "user", "token="))


def test_a_refusal_says_that_a_run_folder_keeps_no_password(locked):
    with pytest.raises(ResourceError, match=r"401.* A run folder keeps no password .* give it again with --set"):
        opened(f"http://{locked}")


def test_check_and_statistics_read_urls(memory):
    filesystem, url = memory
    assert check_corpus(url).problems == ()
    assert [(stats.language, stats.split, stats.words) for stats in corpus_stats(url)] == [
        ("en", "train", 3), ("en", "dev", 2), ("zh-min-nan", "test", 3),
    ]  # fmt: skip
    filesystem.pipe("/bucket/corpus/en.txt", b"\xff\n")
    look_again()
    assert ["en.txt:1:1: byte 0xff is not UTF-8" in problem for problem in check_corpus(url).problems] == [True]


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("nonsense://bucket/corpus", CorpusError, "unknown protocol. Give a folder, or a URL such as s3://"),
        ("memory://no/such/folder", CorpusError, "no such file or folder. Check the address"),
        ("http://127.0.0.1:9/corpus", ResourceError, "cannot be fetched .*Check the address, the network"),
    ],
)
def test_what_cannot_be_fetched_says_why_and_what_to_do(url, error, message):
    with pytest.raises(error, match=f"^{url}: {message}"):
        opened(url)


def test_a_protocol_whose_library_is_missing_says_which(monkeypatch):
    monkeypatch.setitem(known_implementations, "far", {"class": "farlib.Far", "err": "Install farlib to read far://"})
    with pytest.raises(ResourceError, match=r"^far://a/b: Install farlib to read far://\. Install what"):
        opened("far://a/b")


def test_a_missing_file_at_a_url_is_named(folder, memory):
    with pytest.raises(CorpusError, match=r"corpus/xx\.txt: no such file or folder\. Check the address"):
        list(iter_transfer(opened(folder), TransferSection(path=f"{memory[1]}/xx.txt"), "en", held_out=set()))


@pytest.mark.parametrize("name", ["../train.tsv", "./dev.tsv", "/dev.tsv", "en/../train.tsv", "a/en/train.tsv"])
def test_names_that_lead_out_of_the_cache_are_not_fetched(name):
    assert not is_split_file(name)
    assert not is_text_file(f"../{name}")
