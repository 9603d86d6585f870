"""The service on real sockets: what a connection may hold and for how long, and clients that leave."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
from support.tiny_export import make_export

from xtremedistil_ner.serve.app import Service
from xtremedistil_ner.serve.limits import Limits
from xtremedistil_ner.serve.server import make_server
from xtremedistil_ner.tagging.export_reader import verify_export
from xtremedistil_ner.tagging.tagger import Tagger

BODY = json.dumps({"texts": ["Abc de fGh"]}).encode()
HEAD = b"POST /v1/tag HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
LONG = 600.0  # seconds; no test waits for it


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return make_export(tmp_path_factory.mktemp("connections"))


@pytest.fixture(scope="module")
def tagger(export):
    return Tagger.from_pretrained(export)


@pytest.fixture
def serving(export, tagger):
    """Makes a service that runs in a thread and listens on a free port."""

    @contextmanager
    def serve(tag=None, app=None, **limits):
        limits = {"timeout_s": LONG} | limits
        service = Service(tagger, verify_export(export), name="tiny", limits=Limits(**limits), workers=1)
        if tag is not None:
            service.batcher._tag = tag
        server = make_server(service, host="127.0.0.1", port=0)
        server.config.timeout_graceful_shutdown = 1
        if app is not None:
            server.config.app = app
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        until(lambda: server.started)
        try:
            yield Client(listener.getsockname(), server)
        finally:
            server.should_exit = True
            thread.join()

    return serve


class Client:
    """Talks to a service, a byte at a time if need be."""

    def __init__(self, address, server):
        self.address = address
        self.server = server

    def connect(self, data=b""):
        connection = socket.create_connection(self.address)
        connection.sendall(data)
        return connection

    def get(self, path):
        return httpx.get(f"http://{self.address[0]}:{self.address[1]}{path}", timeout=LONG)

    def tag(self):
        with self.connect(HEAD + BODY) as connection:
            return status_of(connection)

    def counted(self, status, route="/v1/tag"):
        return f'xner_requests_total{{route="{route}",status="{status}"}}' in self.get("/metrics").text


def until(is_so):
    while not is_so():
        time.sleep(0.005)


def answer_of(connection):
    """What comes until the connection ends."""
    parts = []
    try:
        while part := connection.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def status_of(connection):
    """The status of the first answer; the connection stays open."""
    return int(connection.recv(1 << 16).split()[1])


def send_what_is_taken(connection, parts):
    try:
        for part in parts:
            connection.sendall(part)
    except (BrokenPipeError, ConnectionResetError):
        pass


START = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        [START + b"A: ", *[b"x" * 50_000] * 400],
        [START, *[b"a: b\r\n" * 1_000] * 400],
        [START, *[b"x" * 5_000 + b": b\r\n"] * 400],
        [START + b"x" * 60_000 + b": " + b"x" * 60_000 + b"\r\n\r\n"],
        [START + b"a: b\r\n" * 101 + b"\r\n"],
        [b"GET /", *[b"x" * 50_000] * 400],
        [b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n"],
    ],
    ids=["one long", "many", "many long", "long at once", "many at once", "address", "address at once"],
)
def test_too_large_a_head_is_refused_however_it_comes(serving, parts):
    with serving() as client:
        with client.connect() as connection:
            send_what_is_taken(connection, parts)
            assert status_of(connection) == 431
        assert client.counted(431, "other")
        assert client.tag() == 200


def test_headers_behind_a_body_count_as_well(serving):
    with serving() as client, client.connect() as connection:
        head = HEAD.replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked")
        send_what_is_taken(connection, [head, b"0\r\nA: ", *[b"x" * 50_000] * 400])
        assert b" 200 " not in answer_of(connection)


def test_what_is_no_http_is_refused_and_counted(serving):
    with serving() as client, client.connect(b"\x16\x03\x01\r\n\r\n") as connection:
        assert status_of(connection) == 400
        assert client.counted(400, "other")


def test_requests_far_ahead_of_their_answers_end_the_connection(serving):
    release = threading.Event()

    def slow(texts):
        release.wait()
        return [[] for _ in texts]

    with serving(slow) as client, client.connect((HEAD + BODY) * 100) as connection:
        assert answer_of(connection) == b""
        release.set()


@pytest.mark.parametrize(
    "parts", [[], [START], [START, b"A: "], [b"\r\n"]], ids=["none", "half", "half a line", "empty"]
)
def test_headers_that_do_not_come_end_the_connection(serving, parts):
    """408 where a request had begun, no word where none had."""
    with serving(timeout_s=0.2) as client, client.connect(b"".join(parts)) as connection:
        answer = answer_of(connection)
        assert answer.startswith(b"HTTP/1.1 408 ") if START in parts else answer == b""


@pytest.mark.parametrize("start", [START + b"A: ", HEAD, START + b"Content-Length: 999\r\n\r\n"])
def test_a_client_that_sends_byte_by_byte_runs_out_of_time(serving, start):
    with serving(timeout_s=0.2) as client, client.connect(start) as connection:

        def drip():
            while not is_over.wait(0.01):
                send_what_is_taken(connection, [b"x" if start != HEAD else b" "])

        is_over = threading.Event()
        thread = threading.Thread(target=drip)
        thread.start()
        answer = answer_of(connection)
        is_over.set()
        thread.join()
        assert answer.startswith(b"HTTP/1.1 200 " if b"999" in start else b"HTTP/1.1 408 ") or answer == b""
        until(lambda: not client.server.server_state.connections)


def test_hundreds_of_half_requests_leave_room_for_whole_ones(serving):
    with serving(connections=20) as client:
        halves = [client.connect(START) for _ in range(100)]
        assert client.get("/healthz").text == "ok"
        assert client.tag() == 200
        assert answer_of(halves[0]) == b""
        assert len(client.server.server_state.connections) <= 20
        for half in halves:
            half.close()


def test_bodies_that_come_slowly_give_their_places_to_whole_requests(serving):
    with serving(requests=2, reading_s=0.0) as client:
        slow = [client.connect(HEAD + BODY[:1]) for _ in range(2)]
        until(lambda: "xner_requests_in_flight 2.0" in client.get("/metrics").text)
        assert client.tag() == 200
        assert status_of(slow[0]) == 408, "the one that began first"
        slow[1].sendall(BODY[1:])
        assert status_of(slow[1]) == 200
        for connection in slow:
            connection.close()


def test_a_body_has_some_time_before_its_place_is_given_away(serving):
    with serving(requests=1, reading_s=LONG) as client, client.connect(HEAD + BODY[:1]) as slow:
        until(lambda: "xner_requests_in_flight 1.0" in client.get("/metrics").text)
        assert client.tag() == 503
        slow.sendall(BODY[1:])
        assert status_of(slow) == 200


def test_an_answer_that_is_not_taken_ends_the_connection(serving):
    async def send_much(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1_000):
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})

    with serving(app=send_much, timeout_s=0.2) as client, client.connect(START + b"\r\n") as connection:
        until(lambda: client.server.server_state.tasks)
        until(lambda: not client.server.server_state.connections)
        assert len(answer_of(connection)) < 100_000_000


def test_a_client_that_leaves_in_mid_body_is_one_quiet_line(serving, caplog):
    caplog.set_level(logging.INFO)
    with serving() as client:
        client.connect(HEAD + BODY[:5]).close()
        until(lambda: client.counted(499))
        assert not client.counted(500)
        assert client.tag() == 200
    lines = [record.getMessage() for record in caplog.records if "499" in record.getMessage()]
    assert len(lines) == 1
    assert all(record.levelno < logging.ERROR and not record.exc_info for record in caplog.records)


def test_texts_of_a_client_that_left_are_dropped(serving):
    release, seen = threading.Event(), []

    def slow(texts):
        seen.extend(texts)
        release.wait()
        return [[] for _ in texts]

    with serving(slow) as client:
        with client.connect(HEAD + BODY):
            until(lambda: seen)
            client.connect(HEAD + BODY).close()
            until(lambda: client.counted(499))
        release.set()
        until(lambda: "xner_requests_in_flight 0.0" in client.get("/metrics").text)
    assert seen == json.loads(BODY)["texts"]
