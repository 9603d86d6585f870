"""One export, one text, the same entities: `Tagger`, the command, HTTP, spaCy, and the browser's tagger in node.

By default a tiny student and sentences of the built-in corpus. `XNER_PARITY_EXPORT`, `XNER_PARITY_TEXT` (a folder of
`<lang>.txt`) and `XNER_PARITY_SENTENCES` put a trained student and other text in their place. What is not installed is
skipped: spaCy, or the npm package that `XNER_ORT_WEB` names.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import httpx
import numpy as np
import pytest
from support.tiny_export import make_export

from xtremedistil_ner.corpus.places import demo_path
from xtremedistil_ner.corpus.streams import open_text
from xtremedistil_ner.serve.app import Service, create_app
from xtremedistil_ner.serve.limits import Limits
from xtremedistil_ner.tagging.export_reader import GRAPH_FILES, verify_export
from xtremedistil_ner.tagging.tagger import Tagger

pytestmark = pytest.mark.browser
N_SENTENCES = int(os.environ.get("XNER_PARITY_SENTENCES", "410"))
BATCH = 50
RUNTIME = os.environ.get("XNER_ORT_WEB")
PROGRAM = Path(__file__).with_name("tag_with_node.mjs")
SCORE = 1e-5
"""Between Python's ONNX Runtime and the browser's; all others run the same kernels on the same rows."""


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    if given := os.environ.get("XNER_PARITY_EXPORT"):
        return Path(given)
    return make_export(tmp_path_factory.mktemp("same"))


@pytest.fixture(scope="module")
def texts():
    """As many lines of each file."""
    folder = Path(os.environ.get("XNER_PARITY_TEXT", demo_path()))
    files = sorted({*folder.glob("*.txt*"), *folder.glob("*/*.txt*")})
    share = -(-N_SENTENCES // len(files))
    return [line for path in files for line in islice(open_text(path), share)][:N_SENTENCES]


@pytest.fixture(scope="module")
def expected(export, texts):
    found = [as_tuples(entities) for entities in Tagger.from_pretrained(export).tag(texts)]
    assert sum(map(len, found)) > len(texts) / 10, "else this shows little"
    return found


def as_tuples(entities):
    return [(entity.text, entity.type, entity.start, entity.end, entity.score) for entity in entities]


def from_json(entities):
    return [tuple(entity[name] for name in ("text", "type", "start", "end", "score")) for entity in entities]


def test_the_command_gives_the_taggers_entities(export, texts, expected):
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    command = [Path(sys.executable).with_name("xner"), "tag", export, "--input", "jsonl", "--format", "jsonl"]
    done = subprocess.run(command, input=lines.encode(), capture_output=True, check=True)
    assert [from_json(json.loads(line)["entities"]) for line in done.stdout.splitlines()] == expected


def test_the_service_gives_the_taggers_entities(export, texts, expected):
    service = Service(
        Tagger.from_pretrained(export), verify_export(export), name="same", limits=Limits(timeout_s=60), workers=2
    )

    async def ask():
        transport = httpx.ASGITransport(create_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://service", timeout=60) as client:
            found = []
            for start in range(0, len(texts), BATCH):
                answer = await client.post("/v1/tag", json={"texts": texts[start : start + BATCH]})
                found += answer.json()["results"]
            return found

    with ThreadPoolExecutor(1) as elsewhere:  # a browser that another test opened has a loop running in this thread
        results = elsewhere.submit(asyncio.run, ask()).result()
    service.batcher.close()
    assert [from_json(result["entities"]) for result in results] == expected


@pytest.mark.skipif(importlib.util.find_spec("spacy") is None, reason="spaCy is not installed")
@pytest.mark.filterwarnings("ignore")
def test_spacy_gives_the_taggers_entities(export, texts, expected):
    import spacy

    nlp = spacy.blank("xx")
    nlp.add_pipe("xner", config={"model": str(export)})
    found = [
        [(ent.text, ent.label_, ent.start_char, ent.end_char, ent._.xner_score) for ent in doc.ents]
        for doc in nlp.pipe(texts)
    ]
    assert found == expected


@pytest.mark.skipif(RUNTIME is None or shutil.which("node") is None, reason="no node, or XNER_ORT_WEB names no package")
def test_the_browsers_tagger_gives_the_taggers_entities(export, texts, expected, tmp_path):
    shutil.copyfile(export / GRAPH_FILES["float32"], tmp_path / "model.onnx")
    shutil.copyfile(export / "tokenizer.json", tmp_path / "tokenizer.json")
    tagger = Tagger.from_pretrained(export)
    model = {
        "tags": tagger.scheme.tags,
        "types": tagger.scheme.types,
        "max_pieces": tagger.encoder.budget + len(tagger.encoder.prefix) + len(tagger.encoder.suffix),
        "transitions": None if tagger.transitions is None else tagger.transitions.tolist(),
    }
    (tmp_path / "model.json").write_text(json.dumps(model), encoding="utf-8")
    request = json.dumps({"do": "tag", "folder": str(tmp_path), "texts": texts})
    done = subprocess.run(["node", PROGRAM, RUNTIME], input=request, capture_output=True, text=True, check=True)
    found = [from_json(entities) for entities in json.loads(done.stdout)]
    assert [[entity[:4] for entity in entities] for entities in found] == [
        [entity[:4] for entity in entities] for entities in expected
    ]
    scores = [[entity[4] for entities in result for entity in entities] for result in (found, expected)]
    np.testing.assert_allclose(*scores, rtol=0, atol=SCORE)
