"""The exported page on a plain file server: what it marks, without any service, is what `Tagger` finds."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.tiny_export import make_export

from xtremedistil_ner.tagging.tagger import Tagger

pytestmark = pytest.mark.browser
TEXT = "Abc de, fGh a.b ef gh Xyz\nab \U0001f600 cd Ef שלום Abc العالم"
RUNTIME = os.environ.get("XNER_ORT_WEB")


class QuietHandler(SimpleHTTPRequestHandler):
    """A plain file server, as anybody's."""

    def log_message(self, *_):
        pass


@contextmanager
def serving(folder):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.skipif(RUNTIME is None, reason="XNER_ORT_WEB names no folder of npm's onnxruntime-web")
def test_the_page_tags_in_the_browser_what_the_tagger_tags(browser, tmp_path):
    export = make_export(tmp_path, formats=("onnx", "web"), onnxruntime_web=Path(RUNTIME))
    page = browser.new_page()
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda request: requests.append(request.url))
    with serving(export / "web") as url:
        page.goto(url)
        page.fill("#text", TEXT)
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("#output .entity", timeout=60_000)
        found = [(mark.text_content(), mark.get_attribute("data-type")) for mark in page.query_selector_all(".entity")]
        assert page.text_content("#output") == TEXT
    (expected,) = Tagger.from_pretrained(export).tag([TEXT])
    assert found == [(entity.text, entity.type) for entity in expected]
    assert not complaints
    assert all(request.startswith(url) for request in requests)
    page.close()
