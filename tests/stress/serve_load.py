"""Twice the load that a service can bear and clients that mean it no good, for a minute.

    python tests/stress/serve_load.py EXPORT --seconds 60

It starts `xner serve EXPORT` on a free port of the loopback, finds how many requests a second it answers, and then
sends twice that number, beside: eight clients with a megabyte of numbers for texts, 400 connections with half a head,
heads of 200 MB, bodies byte by byte, and clients that leave in mid-body. Bounded in time and in number; it stops by
itself. It ends with 1 when there was a 5xx but 503, when nothing was answered, when the service ended, when memory grew
by more than a fifth from a quarter of the time on, or when `/healthz` beside the eight bad bodies alone has a p99 above
100 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

TEXTS = ["Marie Curie worked in Paris.", "Ada Lovelace war in London bei der Royal Society.", "Il pleut à Bruxelles."]
USERS = 150
BAD_BODIES = 8
HALF_HEADS = 400
WARM_UP_S = 5.0
WORST_P99_S = 0.1
MOST_GROWTH = 1.2
HOST = "127.0.0.1"


class Load:
    """Connections to one service, and what was seen on them until `ends`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.ends = 0.0
        self.statuses: dict[str, Counter[int]] = {}

    async def clients(self, seconds: float, *clients: Callable[[], Awaitable[None]]) -> list[float]:
        """Run each client again and again until the time is up. What `/healthz` took meanwhile, in seconds."""
        self.ends = time.monotonic() + seconds
        tasks = [asyncio.create_task(self._again(client)) for client in clients]
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as elsewhere:
            waits = await asyncio.get_running_loop().run_in_executor(elsewhere, probe, self.port, seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return waits

    async def _again(self, client: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() < self.ends:
            try:
                await client()
            except (OSError, asyncio.IncompleteReadError):  # closed by the service
                await asyncio.sleep(0.2)

    def user(self, rate: float | None) -> Callable[[], Awaitable[None]]:
        """Asks for one to four texts over and over, `rate` times a second on average, or as fast as answers come."""

        async def ask() -> None:
            async with self.connection() as (reader, writer):
                while time.monotonic() < self.ends:
                    if rate is not None:
                        await asyncio.sleep(random.expovariate(rate))
                    body = json.dumps({"texts": random.choices(TEXTS, k=random.randint(1, 4))}).encode()
                    writer.write(head_of(len(body)) + body)
                    self.count("tag", await read_status(reader))

        return ask

    async def send_numbers(self) -> None:
        """A megabyte of numbers where texts belong."""
        body = b'{"texts":[' + b"1," * 499_990 + b"1]}"
        async with self.connection() as (reader, writer):
            writer.write(head_of(len(body)) + body)
            self.count("numbers", await read_status(reader))

    async def send_half_a_head(self) -> None:
        """Half a head, then silence."""
        async with self.connection() as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nA: ")
            self.count("half a head", await read_status(reader))

    async def send_a_long_head(self) -> None:
        """Up to 200 MB of headers."""
        async with self.connection() as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nA: ")
            answer = answer_of(reader)
            try:
                for _ in range(200):
                    writer.write(b"x" * 1_000_000)
                    await writer.drain()
            except OSError:
                pass
            self.count("long head", await answer)

    async def send_byte_by_byte(self) -> None:
        """A body that takes an hour."""
        async with self.connection() as (reader, writer):
            writer.write(head_of(3_600))
            answer = answer_of(reader)
            while not answer.done():
                writer.write(b" ")
                await asyncio.sleep(1)
            self.count("byte by byte", answer.result())

    async def leave(self) -> None:
        """Half a body, and gone."""
        async with self.connection() as (_, writer):
            writer.write(head_of(1_000) + b'{"texts"')
            await writer.drain()
        await asyncio.sleep(0.2)

    def count(self, kind: str, status: int) -> None:
        """Remember a status."""
        self.statuses.setdefault(kind, Counter())[status] += 1

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection that is closed at the end, whatever happens."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


def answer_of(reader: asyncio.StreamReader) -> asyncio.Task[int]:
    """The status of an answer that may come before the request is over, or never."""
    answer = asyncio.create_task(read_status(reader))
    answer.add_done_callback(lambda task: task.cancelled() or task.exception())
    return answer


def head_of(length: int) -> bytes:
    """The head of a tagging request."""
    return (
        f"POST /v1/tag HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


async def read_status(reader: asyncio.StreamReader) -> int:
    """The status of the next answer, which is read to its end."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
    return int(head.split()[1])


def probe(port: int, seconds: float) -> list[float]:
    """How long `/healthz` takes, some 20 times a second, each time on a new connection; in a process of its own."""
    waits, ends = [], time.monotonic() + seconds
    while time.monotonic() < ends:
        start = time.monotonic()
        with socket.create_connection((HOST, port)) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            if not connection.recv(1_000).startswith(b"HTTP/1.1 200 "):
                waits.append(float("inf"))
        waits.append(time.monotonic() - start)
        time.sleep(0.05)
    return waits


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")


def resident_mb(process: int) -> float:
    """Resident memory of a process. Units: 10**6 bytes."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def p99(values: list[float]) -> float:
    """The value that one in a hundred exceeds."""
    return sorted(values)[int(0.99 * len(values))] if values else float("inf")


async def attack(load: Load, process: int, seconds: float) -> list[str]:
    """Run all phases and print what was seen; what is wrong with it."""
    await load.clients(WARM_UP_S, *[load.user(None)] * 8)
    capacity = load.statuses["tag"][200] / WARM_UP_S
    say(f"capacity: {capacity:.0f} requests/s (8 clients, one to four short texts)")
    load.statuses = {}

    memory: list[float] = []

    async def watch_memory() -> None:
        memory.append(resident_mb(process))
        await asyncio.sleep(1)

    bad = [load.send_numbers] * BAD_BODIES
    others = [load.send_a_long_head, *[load.send_byte_by_byte] * 4, *[load.leave] * 4]
    users = [load.user(2 * capacity / USERS)] * USERS
    halves = [load.send_half_a_head] * HALF_HEADS
    under_all = p99(await load.clients(seconds, *users, *bad, *others, *halves, watch_memory))
    then = memory[len(memory) // 4 :]
    beside_bad = p99(await load.clients(max(5.0, seconds / 6), *bad))
    for kind, statuses in load.statuses.items():
        say(f"{kind}: " + ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items())))
    say(f"/healthz p99: {1000 * under_all:.0f} ms under everything, {1000 * beside_bad:.0f} ms beside bad bodies")
    say(f"memory: {then[0]:.0f} MB after a quarter of the time, {max(then):.0f} at most, {then[-1]:.0f} at the end")
    seen = set(itertools.chain.from_iterable(load.statuses.values()))
    return [
        text
        for text, is_so in {
            f"5xx: {sorted(seen)}": any(status >= 500 and status != 503 for status in seen),
            "nothing was answered": not load.statuses["tag"][200],
            "memory grew": max(then) > MOST_GROWTH * then[0],
            "/healthz waited": beside_bad > WORST_P99_S,
        }.items()
        if is_so
    ]


def main() -> int:
    """Start a service, attack it, stop it."""
    parser = argparse.ArgumentParser(description="Load and attacks on `xner serve`.")
    parser.add_argument("export", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "xtremedistil_ner", "serve", options.export, "--port", str(port), "--threads", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process, open_log(process) as log:
        while process.poll() is None and not is_listening(port):
            time.sleep(0.1)
        wrong = asyncio.run(attack(Load(port), process.pid, options.seconds)) if process.poll() is None else []
        process.send_signal(signal.SIGTERM)
        if process.wait() != 0:
            wrong.append(f"the service ended with {process.returncode}")
    tracebacks = sum("Traceback" in line for line in log)
    say(f"log: {len(log)} lines, {tracebacks} tracebacks")
    wrong += ["tracebacks in the log"] if tracebacks else []
    say("wrong: " + "; ".join(wrong) if wrong else "all is well")
    return int(bool(wrong))


@contextlib.contextmanager
def open_log(process: subprocess.Popen[str]) -> Iterator[list[str]]:
    """The lines of a process's standard error, gathered by a thread; complete when the context ends."""
    lines: list[str] = []
    thread = threading.Thread(target=lambda: lines.extend(process.stderr))
    thread.start()
    yield lines
    thread.join()


def is_listening(port: int) -> bool:
    """Whether a service takes connections."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


if __name__ == "__main__":
    sys.exit(main())
