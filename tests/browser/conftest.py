"""A browser, and a service without a model: the page's files and answers that tests can foresee."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import xtremedistil_ner

PAGE = Path(xtremedistil_ner.__file__).parent / "serve" / "page"
CHROMIUM = Path(os.environ.get("XNER_CHROMIUM", "/usr/bin/chromium"))
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/files.js": ("files.js", "text/javascript; charset=utf-8"),
    "/tagging.js": ("tagging.js", "text/javascript; charset=utf-8"),
    "/examples.json": ("examples.json", "application/json"),
}
# Names that no capital letter gives away, or of several words; from the page's examples.
KNOWN_NAMES = {
    "PER": "نجيب محفوظ|Христо Стоичков|রবীন্দ্রনাথ ঠাকুর|Μελίνα Μερκούρη|Marie Curie|مریم میرزاخانی|עמוס עוז|सी. वी. रमन|"
    "Мајка Тереза|Анна Ахматова|இராமானுசன்|Борис Патон|Ngô Bảo Châu|Max Planck",
    "LOC": "القاهرة|Пловдив|Лондон|কলকাতার|শান্তিনিকেতনে|Αθήνα|Warsaw|تهران|בירושלים|तिरुचिरापल्ली|बेंगलुरु|Скопје|Калкута|"
    "Одессой|Царском Селе|ஈரோட்டில்|இங்கிலாந்து|Києві|Hà Nội|Hyderabad|Ấn Độ|Kiel",
    "ORG": "جامعة القاهرة|الأكاديمية السويدية|Барселона|বিশ্বভারতী বিশ্ববিদ্যালয়|Βρετανικό Μουσείο|University of Paris|"
    "Royal Swedish Academy of Sciences|دانشگاه صنعتی شریف|באוניברסיטת בן-גוריון בנגב|रमन अनुसंधान संस्थान|"
    "Мисионерки на милосрдието|Союза писателей СССР|கேம்பிரிட்ஜ் பல்கலைக்கழகத்தில்|"
    "Національну академію наук України|Đại học Paris-Sud|Universität Berlin|Kaiser-Wilhelm-Gesellschaft",
}
TYPE_OF_NAME = {name: kind for kind, names in KNOWN_NAMES.items() for name in names.split("|")}
NAMES = re.compile("|".join([*sorted(map(re.escape, TYPE_OF_NAME), key=len, reverse=True), r"\b[^\W\d_a-zß-ÿ]\w*"]))
MODEL = {
    "name": "stub",
    "types": ["LOC", "ORG", "PER"],
    "synthetic": False,
    "languages": {"en": {"name": "English", "f1": 0.8125}, "de": {"name": "German", "f1": None}},
    "limits": {"texts": 128, "characters": 100_000, "body_bytes": 1_000_000},
}


def entities_in(text: str) -> list[dict[str, object]]:
    """Known names and words with a capital letter: offsets in code points, as Python counts."""
    found = [match for match in NAMES.finditer(text) if match[0] in TYPE_OF_NAME or match[0][0].isupper()]
    return [
        {
            "text": match[0],
            "type": TYPE_OF_NAME.get(match[0]) or MODEL["types"][len(match[0]) % 3],
            "start": match.start(),
            "end": match.end(),
            "score": round(1 - (match.start() + 1) % 41 / 100, 4),
        }
        for match in found
    ]


@contextmanager
def stub_service(prefix: str = "") -> Iterator[str]:
    """The address of a service that serves the page as the real one does, and tags by `entities_in`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.removeprefix(prefix)
            if not self.path.startswith(prefix):
                self._refuse()
            elif path == "/v1/model":
                self._send(200, "application/json", json.dumps(MODEL).encode())
            elif path in FILES:
                name, kind = FILES[path]
                self._send(200, kind, (PAGE / name).read_bytes())
            else:
                self._refuse()

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != f"{prefix}/v1/tag" or self.headers["Content-Type"] != "application/json":
                self._refuse()
                return
            results = [{"id": None, "entities": entities_in(text)} for text in json.loads(body)["texts"]]
            self._send(200, "application/json", json.dumps({"results": results}).encode())

        def _refuse(self):
            self._send(404, "application/json", b'{"detail": "Not Found"}')

        def _send(self, status, kind, content):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", SECURITY_POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}{prefix}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def service_url():
    """Where the page is served, with a slash at the end."""
    with stub_service() as url:
        yield url


@pytest.fixture(scope="session")
def prefixed_service_url():
    """The same behind a path that a proxy might put before it."""
    with stub_service(prefix="/tools/tagger") as url:
        yield url


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium; one for all tests, each test has a context of its own."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}; XNER_CHROMIUM names another one")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
