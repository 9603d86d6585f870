"""Load on a running `xner serve`, by locust: is every answer there, is it the right one, and how long does it take.

    xner serve export --port 8000
    locust -f benchmarks/load.py --headless -H http://127.0.0.1:8000 -u 200 -r 50 -t 10m \
      --texts texts.txt --rate 2

`--texts`: a file with one text a line. `--rate`: requests per second and user, if answers took no time. Each request
has some of these texts, under ids that no other request has; its answer must have those ids in order and, for each
text, exactly the entities that the service gave it when nobody else asked: a float32 BiLSTM answers the same in any
company. 503 is an answer; it is counted apart. A wrong, crossed or missing answer is a failure, and failures make
locust end with 1.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import requests
from locust import FastHttpUser, events, task

NUMBERS = itertools.count()
EXPECTED: dict[str, Any] = {}


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:  # noqa: ANN401 - configargparse's, which locust brings
    """Options of this load."""
    parser.add_argument("--texts", required=True, help="one text a line")
    parser.add_argument("--rate", type=float, default=1.0, help="requests per second and user")


@events.test_start.add_listener
def learn_answers(environment: Any, **_: Any) -> None:  # noqa: ANN401 - locust's environment
    """What the service says of each text when nobody else asks."""
    lines = Path(environment.parsed_options.texts).read_text(encoding="utf-8").splitlines()
    for text in dict.fromkeys(line for line in lines if line.strip()):
        answer = requests.post(f"{environment.host}/v1/tag", json={"texts": [text]}, timeout=30)
        answer.raise_for_status()
        EXPECTED[text] = answer.json()["results"][0]["entities"]


class Client(FastHttpUser):
    """Sends one to four texts at a time."""

    def wait_time(self) -> float:
        """Random waits with a mean of one over `--rate`: users in step would make waves and pauses."""
        return random.expovariate(self.environment.parsed_options.rate)

    @task
    def tag(self) -> None:
        """One request, and whether its answer is its own."""
        texts = random.choices(list(EXPECTED), k=random.randint(1, 4))
        names = [f"{next(NUMBERS)}" for _ in texts]
        with self.client.post(
            "/v1/tag", json={"texts": texts, "ids": names}, catch_response=True, name="/v1/tag"
        ) as answer:
            if answer.status_code == 503 and answer.headers.get("Retry-After"):
                answer.request_meta["name"] = "/v1/tag 503"
                answer.success()
                return
            expected = [{"id": name, "entities": EXPECTED[text]} for name, text in zip(names, texts, strict=True)]
            if answer.status_code != 200:
                answer.failure(f"status {answer.status_code}")
            elif answer.json()["results"] != expected:
                answer.failure("not the answer to this request")
            else:
                answer.success()
