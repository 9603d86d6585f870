"""The HTTP service: answers, refusals, limits, and what it says of texts to others: nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_export import make_export

from xtremedistil_ner.serve.app import Service, create_app
from xtremedistil_ner.serve.batching import MicroBatcher
from xtremedistil_ner.serve.limits import Limits, RefusedError
from xtremedistil_ner.serve.reading import read_request
from xtremedistil_ner.tagging.export_reader import verify_export
from xtremedistil_ner.tagging.tagger import Entity, Tagger

TEXTS = ["Abc de, fGh a.b ef gh Xyz", "", "ab \U0001f600 cd Ef", "שלום Abc العالم"]
SECRET = "Sesam"


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    scores = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 1, "f1_low": 0.5, "f1_high": 0.5}
    report = {"synthetic": True, "models": {"student": {"macro_f1": 0.5, "languages": {"en": scores}}}}
    return make_export(tmp_path_factory.mktemp("serve"), report=report)


@pytest.fixture(scope="module")
def tagger(export):
    return Tagger.from_pretrained(export)


@pytest.fixture
def start(export, tagger):
    """Makes a client of a service of its own, with some limits."""
    services = []

    def client(tag=None, workers=1, **limits):
        service = Service(tagger, verify_export(export), name="tiny", limits=Limits(**limits), workers=workers)
        if tag is not None:
            service.batcher._tag = tag
        services.append(service)
        transport = httpx.ASGITransport(create_app(service), raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url="http://service")
        client.batcher = service.batcher
        return client

    yield client
    for service in services:
        service.batcher.close()


def ask(client, *, body=None, **value):
    """One request, and the answer."""

    async def post():
        async with client:
            if body is None:
                return await client.post("/v1/tag", json=value)
            return await client.post("/v1/tag", content=body, headers={"Content-Type": "application/json"})

    return asyncio.run(post())


async def until(is_so):
    while not is_so():
        await asyncio.sleep(0.001)


def get(client, path):
    async def fetch():
        async with client:
            return await client.get(path)

    return asyncio.run(fetch())


def test_texts_have_the_entities_that_the_tagger_gives_them_and_their_ids(start, tagger):
    answer = ask(start(), texts=TEXTS, ids=["a", 2, "a", "x"])
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["id"] for result in results] == ["a", 2, "a", "x"]
    for text, result, expected in zip(TEXTS, results, tagger.tag(TEXTS), strict=True):
        assert [Entity(**entity) for entity in result["entities"]] == expected
        assert all(text[entity["start"] : entity["end"]] == entity["text"] for entity in result["entities"])
    assert any(result["entities"] for result in results)


def test_a_request_keeps_entities_by_score_and_type(start, tagger):
    found = [entity for entities in tagger.tag(TEXTS) for entity in entities]
    least, kind = sorted(entity.score for entity in found)[1], found[0].type
    results = ask(start(), texts=TEXTS, min_score=least, types=[kind]).json()["results"]
    kept = [Entity(**entity) for result in results for entity in result["entities"]]
    assert kept == [entity for entity in found if entity.score >= least and entity.type == kind]
    assert 0 < len(kept) < len(found)
    everything = ask(start(), texts=TEXTS, min_score=0, types=None).json()
    assert everything == ask(start(), texts=TEXTS).json()


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ({"min_score": 1.5}, "min_score: no number from 0 to 1."),
        ({"min_score": True}, "min_score: no number from 0 to 1."),
        ({"min_score": None}, "min_score: no number from 0 to 1."),
        ({"types": ["PER", SECRET]}, "types: name some of PER, ORG, LOC."),
        ({"types": []}, "types: name some of PER, ORG, LOC."),
        ({"types": "PER"}, "types: not a list."),
        ({"types": [7]}, "types.0: not a string."),
    ],
)
def test_an_impossible_choice_of_entities_is_refused_without_repeating_it(start, value, detail):
    answer = ask(start(), texts=TEXTS, **value)
    assert (answer.status_code, answer.json()) == (422, {"detail": detail})


def test_without_ids_there_are_none(start):
    assert [result["id"] for result in ask(start(), texts=["a", "b"]).json()["results"]] == [None, None]
    assert ask(start(), texts=[]).json() == {"results": []}


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"", 422, "not a JSON object"),
        (b"{", 422, "A key that is none of"),
        (b"\xff", 422, "not UTF-8"),
        (b"[" * 100_000, 422, "not a JSON object"),
        (b"[]", 422, "not a JSON object"),
        (b"{}", 422, "texts: a list of strings is missing"),
        (b'{"ids": []}', 422, "texts: a list of strings is missing"),
        (b'{"texts": ["a"]} {}', 422, "not JSON"),
        (b'{"texts": ["a"], }', 422, "A key that is none of"),
        (b'{"texts": ["a",]}', 422, "texts.1: not a string"),
        (b'{"texts": ["a" "b"]}', 422, "not JSON"),
        (b'{"texts": ["a\nb"]}', 422, "not JSON"),
        (b'{"texts": ["Sesam', 422, "not JSON"),
        (b'{"texts": "Sesam"}', 422, "texts: not a list"),
        (b'{"texts": null}', 422, "texts: not a list"),
        (b'{"texts": {"Sesam": 1}}', 422, "texts: not a list"),
        (b'{"texts": ["a", 1]}', 422, "texts.1: not a string"),
        (b'{"texts": [' + b"1," * 450_000 + b"1]}", 422, "texts.0: not a string"),
        (b'{"texts": ' + b"[" * 450_000, 422, "texts.0: not a string"),
        (b'{"texts": [NaN]}', 422, "texts.0: not a string"),
        (b'{"texts": ["a"], "texts": ["b"]}', 422, "texts: given twice"),
        (b'{"texts": ["a"], "ids": [1e400]}', 422, "ids.0"),
        (b'{"texts": ["a"], "ids": [1.0]}', 422, "ids.0"),
        (b'{"texts": ["a"], "ids": [-Infinity]}', 422, "not JSON"),
        (b'{"texts": ["a"], "ids": [true]}', 422, "ids.0"),
        (b'{"texts": ["a"], "ids": [null]}', 422, "ids.0"),
        (b'{"texts": ["a"], "ids": [["Sesam"]]}', 422, "ids.0"),
        (b'{"texts": ["a"], "ids": ["a", "b"]}', 422, "1 texts but 2 ids"),
        (b'{"texts": ["a"], "ids": [99999999999999999999]}', 422, "ids.0"),
        (b'{"texts": ["a"], "ids": [' + b"9" * 5_000 + b"]}", 422, "not JSON"),
        (b'{"texts": ["a"], "Sesam": 1}', 422, "A key that is none of"),
        (b'{"texts": ["Sesam \\ud800"]}', 422, "lone surrogate"),
        (b'{"texts": ["a"], "ids": ["Sesam \\udfff"]}', 422, "lone surrogate"),
        (b'{"texts": ["a", "a", "a", "a"]}', 413, "More than 3 texts"),
        (b'{"texts": [], "ids": [1, 2, 3, 4]}', 413, "More than 3 ids"),
        (b'{"texts": ["aaaaaa", "aaaaa"]}', 413, "11 characters, more than 10"),
        (b'{"texts": ["' + b"\xc3\xa9" * 200 + b'"]}', 413, "more than 200 bytes"),
    ],
)
def test_a_bad_request_is_refused_and_never_repeated(start, body, status, detail):
    answer = ask(start(texts=3, characters=10, body_bytes=200 if b"\xc3" in body else 1_000_000), body=body)
    assert answer.status_code == status
    assert detail in answer.json()["detail"]
    assert SECRET not in answer.text
    assert len(answer.content) < 200


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"texts": ["a"]}',
        b' {\n"ids"\t:null\r,"texts" : [ "a" ] } \n',
        b'{"texts": ["\\ud83d\\ude00 [{\\"1,"], "ids": [-9007199254740991]}',
        b'{"texts": []}',
    ],
)
def test_every_way_to_write_a_request_in_json_is_read(start, body):
    answer = ask(start(), body=body)
    assert answer.status_code == 200
    assert len(answer.json()["results"]) == len(json.loads(body)["texts"])


@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps({"texts": v}).encode())
)
def test_a_request_is_read_as_pythons_json_reads_it_or_refused(body):
    try:
        found = read_request(body, Limits())
    except RefusedError as error:
        assert error.status in (413, 422)
    else:
        assert found.texts == json.loads(body)["texts"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "Identity"}, 200),
    ],
)
def test_a_body_of_another_kind_is_refused(start, headers, status):
    async def post():
        async with start() as client:
            return await client.post("/v1/tag", content=b'{"texts": []}', headers=headers)

    assert asyncio.run(post()).status_code == status


def test_a_body_without_a_length_is_cut_off_at_the_limit(start):
    sent = []

    async def chunks():
        for _ in range(100):
            sent.append(1)
            yield b" " * 100

    async def post():
        async with start(body_bytes=1_000) as client:
            return await client.post("/v1/tag", content=chunks(), headers={"Content-Type": "application/json"})

    assert asyncio.run(post()).status_code == 413


def test_more_requests_than_allowed_are_sent_away_and_told_when_to_come_again(start):
    release = threading.Event()

    def slow(texts):
        release.wait(10)
        return [[] for _ in texts]

    async def crowd():
        async with start(slow, requests=3) as client:
            asked = [asyncio.create_task(client.post("/v1/tag", json={"texts": ["a"]})) for _ in range(5)]
            await until(lambda: sum(task.done() for task in asked) == 2)
            release.set()
            return await asyncio.gather(*asked)

    answers = asyncio.run(crowd())
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 503, 503]
    assert {answer.headers.get("retry-after") for answer in answers if answer.status_code == 503} == {"1"}


def test_a_queue_that_is_full_of_text_takes_no_more(start):
    release = threading.Event()

    def slow(texts):
        release.wait(10)
        return [[] for _ in texts]

    async def crowd():
        async with start(slow, waiting_characters=100) as client:
            texts = {"texts": ["a" * 60]}
            asked = [asyncio.create_task(client.post("/v1/tag", json=texts))]  # the worker has it
            await until(lambda: not client.batcher._free)
            asked.append(asyncio.create_task(client.post("/v1/tag", json=texts)))
            await until(lambda: client.batcher.waiting_characters)
            refused = [await client.post("/v1/tag", json=texts) for _ in range(2)]
            release.set()
            return [*await asyncio.gather(*asked), *refused]

    assert [answer.status_code for answer in asyncio.run(crowd())] == [200, 200, 503, 503]


def test_a_request_that_takes_too_long_is_answered_and_its_texts_are_dropped(start, monkeypatch):
    """The event loop's clock is put forward, so that the machine's speed does not matter."""
    release, seen = threading.Event(), []

    def slow(texts):
        seen.extend(texts)
        release.wait(10)
        return [[] for _ in texts]

    async def crowd():
        async with start(slow, timeout_s=600) as client:
            first = asyncio.create_task(client.post("/v1/tag", json={"texts": ["first"]}))
            await until(lambda: seen)
            second = asyncio.create_task(client.post("/v1/tag", json={"texts": ["second"]}))
            await until(lambda: client.batcher.waiting_characters)
            clock = asyncio.get_running_loop().time
            monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock() + 600)
            answers = await asyncio.gather(first, second)
            release.set()
            return [*answers, await client.post("/v1/tag", json={"texts": ["last"]})]

    assert [answer.status_code for answer in asyncio.run(crowd())] == [503, 503, 200]
    assert seen == ["first", "last"]


def test_no_answer_is_crossed_when_hundreds_ask_at_once(start, tagger):
    """Each text names its request; every result must be that text's own."""
    random.seed(1)
    texts = [f"Abc{'d' * (number % 7)} ef{number} Gh" + " ab" * random.randrange(300) for number in range(300)]
    expected = tagger.tag(texts)

    async def crowd():
        async with start(workers=2, requests=1000, waiting_characters=10**7) as client:
            asked = [client.post("/v1/tag", json={"texts": [text], "ids": [n]}) for n, text in enumerate(texts)]
            return await asyncio.gather(*asked)

    for number, answer in enumerate(asyncio.run(crowd())):
        (result,) = answer.json()["results"]
        assert result["id"] == number
        assert [Entity(**entity) for entity in result["entities"]] == expected[number]


def batches_of(texts, *, workers=1):
    """The batches that some texts are tagged in while one worker is held up by a first text."""
    release, batches = threading.Event(), []

    def tag(given):
        batches.append(list(given))
        if given == ["first"]:
            release.wait(10)
        return [[] for _ in given]

    async def run():
        batcher = MicroBatcher(tag, workers=workers)
        first = asyncio.create_task(batcher.tag(["first"]))
        await until(lambda: batches)
        others = [asyncio.create_task(batcher.tag([text])) for text in texts]
        await until(lambda: len(batcher._waiting) == len(texts))
        release.set()
        await asyncio.gather(first, *others)
        batcher.close()

    asyncio.run(run())
    assert batches[0] == ["first"]
    return batches[1:]


def test_texts_that_wait_go_together_by_length_the_oldest_first():
    short, long = ["a" * 10, "b" * 190, "c" * 150], ["d" * 3000, "e" * 5000]
    assert batches_of([short[0], long[0], short[1], long[1], short[2]]) == [short, long]


def test_a_batch_has_a_bound_and_a_text_longer_than_that_goes_alone():
    assert [len(batch) for batch in batches_of(["a" * 6000] * 5)] == [2, 2, 1]
    assert [len(batch) for batch in batches_of(["a" * 60_000] * 2)] == [1, 1]


def test_a_lone_text_does_not_wait_for_company(monkeypatch):
    """The clock of the event loop stands still: whatever waits for time to pass waits for ever."""

    async def run():
        now = asyncio.get_running_loop().time()
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
        batcher = MicroBatcher(lambda texts: [[] for _ in texts], workers=1)
        found = await batcher.tag(["a"])
        batcher.close()
        return found

    assert asyncio.run(run()) == [[]]


def test_a_tagger_that_breaks_answers_500_and_the_next_request_is_served(start, caplog):
    def broken(texts):
        if texts == [SECRET]:
            raise RuntimeError("broken")
        return [[] for _ in texts]

    async def two():
        async with start(broken) as client:
            return [(await client.post("/v1/tag", json={"texts": [text]})).status_code for text in (SECRET, "fine")]

    assert asyncio.run(two()) == [500, 200]
    assert SECRET not in caplog.text


def test_nothing_of_a_text_is_logged(start, caplog):
    caplog.set_level(logging.DEBUG)

    async def several():
        async with start() as client:
            await client.post("/v1/tag", json={"texts": [f"{SECRET} Abc"]})
            await client.post("/v1/tag", content=f'{{"texts": ["{SECRET}'.encode())
            await client.get(f"/v1/tag?texts={SECRET}")
            await client.get(f"/{SECRET}")

    asyncio.run(several())
    mine = [record for record in caplog.records if record.name == "xtremedistil_ner.serve"]
    assert [record.getMessage().split()[:2] for record in mine] == [
        ["/v1/tag", "200"],
        ["/v1/tag", "415"],
        ["/v1/tag", "405"],
        ["other", "404"],
    ]
    assert SECRET not in " ".join(record.getMessage() for record in mine)


def test_the_service_says_how_it_is_and_what_it_did(start, tagger):
    async def several():
        async with start() as client:
            await client.post("/v1/tag", json={"texts": TEXTS})
            paths = ("/healthz", "/readyz", "/metrics", "/v1/model")
            return [await client.get(path) for path in paths]

    health, ready, metrics, model = asyncio.run(several())
    assert (health.text, ready.text) == ("ok", "ready")
    assert 'xner_requests_total{route="/v1/tag",status="200"} 1.0' in metrics.text
    assert f"xner_texts_total {len(TEXTS)}.0" in metrics.text
    found = sum(len(entities) for entities in tagger.tag(TEXTS))
    counted = [float(line.split()[-1]) for line in metrics.text.splitlines() if line.startswith("xner_entities_total")]
    assert sum(counted) == found > 0
    assert model.json()["languages"] == {"en": {"name": "English", "f1": 0.5}}
    assert model.json()["synthetic"] is True
    assert model.json()["types"] == ["PER", "ORG", "LOC"]


def test_the_openapi_describes_every_answer(start):
    paths = get(start(), "/openapi.json").json()["paths"]
    assert set(paths) == {"/v1/tag", "/v1/model", "/healthz", "/readyz", "/metrics"}
    assert set(paths["/v1/tag"]["post"]["responses"]) == {"200", "408", "413", "415", "422", "503"}


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/files.js", "/tagging.js", "/examples.json"])
def test_the_page_comes_with_a_policy_that_lets_nothing_else_in(start, path):
    answer = get(start(), path)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def wait_until_ready(process, url):
    while True:
        try:
            assert httpx.get(f"{url}/readyz").text == "ready"
            return
        except httpx.ConnectError:
            assert process.poll() is None
            time.sleep(0.05)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_request_in_the_model_card_is_answered(export):
    card = (export / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```sh\n(.*?)```", card, flags=re.DOTALL)
    port = free_port()
    command = [Path(sys.executable).with_name("xner"), "serve", ".", "--port", str(port)]
    with subprocess.Popen(command, cwd=export, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until_ready(process, f"http://127.0.0.1:{port}")
            done = subprocess.run(["sh", "-c", snippet.replace("8000", str(port))], capture_output=True)
        finally:
            process.terminate()
    assert len(json.loads(done.stdout)["results"]) == 1


def test_a_service_that_is_stopped_answers_what_it_has_and_ends_with_0(export):
    """Half of a request is there before the signal; the rest follows when the service listens no more."""
    port = free_port()
    command = [Path(sys.executable).with_name("xner"), "serve", export, "--port", str(port), "--timeout", "600"]
    body = json.dumps({"texts": TEXTS}).encode()
    head = f"POST /v1/tag HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(process, url)
        taken = subprocess.run(command, capture_output=True, text=True)
        assert taken.returncode == 5
        assert f"127.0.0.1:{port}: cannot listen there" in taken.stderr
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head.encode() + body[:9])
            while "xner_requests_in_flight 1.0" not in httpx.get(f"{url}/metrics").text:
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            while accepts_connections(port):
                time.sleep(0.01)
            connection.sendall(body[9:])
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert process.wait() == 0
        log = process.stderr.read()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert "Traceback" not in log
    assert "/v1/tag 200" in log


def accepts_connections(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionError:
        return False
    return True


def test_the_answer_is_json_that_any_reader_takes(start):
    body = ask(start(), texts=["Abc \u2028 \x00 de"], ids=["\U0001f600"]).content
    assert json.loads(body.decode("utf-8"), parse_constant=pytest.fail)["results"][0]["id"] == "\U0001f600"
