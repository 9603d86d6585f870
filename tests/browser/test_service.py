"""The page over the real service: what it marks is what `Tagger` finds."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from support.tiny_export import make_export

from xtremedistil_ner.tagging.tagger import Tagger

pytestmark = pytest.mark.browser
TEXT = "Abc de, fGh a.b ef gh Xyz\nab \U0001f600 cd Ef שלום Abc العالم"


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return make_export(tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="module")
def real_service_url(export):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    command = [Path(sys.executable).with_name("xner"), "serve", export, "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}/"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            try:
                httpx.get(f"{url}readyz")
                break
            except httpx.ConnectError:
                time.sleep(0.05)
        yield url
        process.terminate()


def test_the_page_marks_what_the_tagger_finds(browser, real_service_url, export):
    page = browser.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(real_service_url)
    page.fill("#text", TEXT)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#output .entity")
    found = [(mark.text_content(), mark.get_attribute("data-type")) for mark in page.query_selector_all(".entity")]
    (expected,) = Tagger.from_pretrained(export).tag([TEXT])
    assert found == [(entity.text, entity.type) for entity in expected]
    assert page.text_content("#output") == TEXT
    assert not complaints
    page.close()
