"""Broken records: lines of JSON, of words with tags and of annotation tools, and parquet tables."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from stress.broken_text import look, tag, transfer
from stress.cases import Case, changed_json
from stress.mutators import change_bytes, pack
from stress.values import OUTSIDE

_RECORDS = (
    {"words": ["Ada", "lives", "in", "New", "York"], "tags": ["B-PER", "O", "O", "B-LOC", "I-LOC"]},
    {"tokens": ["Rome"], "ner_tags": ["B-LOC"], "id": 7, "lang": "en"},
    {"text": "Ada Lovelace in London", "label": [[0, 12, "PER"], [16, 22, "LOC"]], "id": 1},
    {
        "text": "Ada in London",
        "entities": [{"id": 1, "label": "PER", "start_offset": 0, "end_offset": 3}],
        "relations": [],
    },
    {
        "text": "Ada in London",
        "tokens": [{"text": "Ada", "start": 0, "end": 3, "id": 0}, {"text": "in", "start": 4, "end": 6, "id": 1}],
        "spans": [{"start": 0, "end": 3, "label": "PER", "token_start": 0, "token_end": 0}],
        "answer": "accept",
        "meta": {"source": "x"},
    },
    {"text": "Ada in London", "entities": [{"text": "Ada", "type": "PER", "start": 0, "end": 3, "score": 0.9}]},
    {
        "text": "Ada in 𝕃ondon",
        "label": [{"start": 7, "end": 14, "text": "𝕃ondon", "labels": ["LOC"]}],
        "annotation_id": 2,
    },
    {"text": "Ada in London", "language": "en"},
    {"text": "Ada kom", "language": "no", "ids": [1, 2]},
)
_LABEL_STUDIO = {
    "id": 1,
    "data": {"text": "Ada in London"},
    "annotations": [
        {
            "id": 3,
            "was_cancelled": False,
            "result": [
                {
                    "type": "labels",
                    "from_name": "label",
                    "to_name": "text",
                    "value": {"start": 0, "end": 3, "text": "Ada", "labels": ["PER"]},
                }
            ],
        }
    ],
}


def jsonl(rng: random.Random, template: Path) -> Case:
    record = rng.choice(_RECORDS)
    sound = json.dumps(record).encode()
    lines = [sound, changed_json(rng, sound), sound] if rng.random() < 0.7 else [changed_json(rng, sound)]
    data = b"\n".join(lines) + b"\n"
    if rng.random() < 0.1:
        data = change_bytes(rng, data, sound)
    draw = rng.random()
    if draw < 0.08:
        data = b"[" + changed_json(rng, json.dumps(_LABEL_STUDIO).encode()) + b"]"
        name, data = pack(rng, "c/en/train.json", data)
        return Case({name: data}, look(rng))
    if draw < 0.5:
        name, data = pack(rng, "c/en/train.jsonl", data)
        return Case({name: data}, look(rng))
    if draw < 0.75:
        name, data = pack(rng, "f.jsonl", data)
        return Case({name: data}, tag(rng, name, ("jsonl", "jsonl", "text", "conll")))
    name, data = pack(rng, rng.choice(("t.jsonl", "t/en.jsonl")), data)
    return transfer(rng, name, data)


def parquet(rng: random.Random, template: Path) -> Case:
    data = _parquet_file(rng)
    for _ in range(rng.choice((0, 0, 1, 2))):
        data = change_bytes(rng, data, data)
    if rng.random() < 0.7:
        return Case({"c/en/train.parquet": data}, look(rng))
    return transfer(rng, rng.choice(("t.parquet", "t/en.parquet")), data)


def _parquet_file(rng: random.Random) -> bytes:
    columns = rng.choice(
        (("words", "tags"), ("tokens", "ner_tags"), ("words", "words"), ("words", "tags", "tags"), ("words",))
    )
    columns = rng.choice((columns, ("text",), ("text", "language"), ("text", "text"), ()))
    values = [_arrow_values(rng, name) for name in columns]
    rows = min(map(len, values), default=0)
    table = pyarrow.Table.from_arrays([value.slice(0, rows) for value in values], names=list(columns))
    if rng.random() < 0.3:
        about = rng.choice(
            (b"{", b"[]", b"null", b'{"info": 1}', b'{"info": {"features": []}}', b"\xff", _features(rng))
        )
        table = table.replace_schema_metadata(
            {b"huggingface": about, b"ARROW:schema": b"x"} if rng.random() < 0.1 else {b"huggingface": about}
        )
    sink = io.BytesIO()
    version, packing = rng.choice(("1.0", "2.4", "2.6")), rng.choice(("snappy", "none", "gzip", "zstd", "brotli"))
    pyarrow.parquet.write_table(
        table, sink, version=version, compression=packing, row_group_size=rng.choice((1, 2, 1000))
    )
    return sink.getvalue()


def _features(rng: random.Random) -> bytes:
    feature = {
        "feature": {"names": ["O", "B-PER", "I-PER"], "_type": "ClassLabel"},
        "_type": rng.choice(("Sequence", "List")),
    }
    words = {"feature": {"dtype": "string", "_type": "Value"}, "_type": "Sequence"}
    about = json.dumps(
        {"info": {"features": {"words": words, "tags": feature, "tokens": words, "ner_tags": feature}}}
    ).encode()
    return changed_json(rng, about, (0, 1, 2))


def _arrow_values(rng: random.Random, name: str) -> Any:
    texts = pyarrow.array([["Ada", "came"], ["Rome"], []], pyarrow.list_(pyarrow.string()))
    sound = {"tags": [["B-PER", "O"], ["B-LOC"], []], "ner_tags": [[1, 0], [1], []], "text": ["Ada came", "Rome", ""]}
    sound["language"] = ["en", "no", rng.choice(("en", "", *OUTSIDE))]
    bad = pyarrow.array([[b"Ad\xff", b"c"], [b"\xed\xa0\x80"], []], pyarrow.list_(pyarrow.binary()))
    nested = pyarrow.array([[["Ada"]], [["Rome"]], []])
    good = pyarrow.array(sound[name]) if name in sound else texts
    if rng.random() < 0.5:
        return good
    return rng.choice(
        (
            good,
            texts,
            bad,
            bad.cast(pyarrow.list_(pyarrow.string()), safe=False) if rng.random() < 0 else _unchecked(bad),
            nested,
            pyarrow.array([1, 2, 3]),
            pyarrow.array([None, None, None]),
            pyarrow.array([None, ["Rome"], [None]], pyarrow.list_(pyarrow.string())),
            pyarrow.array([[1, 0], [99], []]),
            pyarrow.array([[1, -1], [2**62], []], pyarrow.list_(pyarrow.int64())),
            pyarrow.array([[0.5, float("nan")], [1.0], []]),
            pyarrow.array([True, False, None]),
            pyarrow.array([{"a": 1}, {"a": 2}, None]),
            pyarrow.array(["2024-01-01"] * 3).cast(pyarrow.date32()),
            pyarrow.array([[1], [2], [3]], pyarrow.list_(pyarrow.timestamp("us"))),
            pyarrow.array([["a", "b"], ["c", "d"], ["e", "f"]], pyarrow.list_(pyarrow.string(), 2)),
            pyarrow.array([["Ada", "came"], ["Rome"], []], pyarrow.large_list(pyarrow.large_string())),
            pyarrow.array(["Ada", "came", "Ada"]).dictionary_encode(),
            pyarrow.array([b"a", b"\xff", None]),
            pyarrow.array([[("a", 1)], [], []], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
            pyarrow.array([["x\ny", ""], ["\r"], [" "]]),
            pyarrow.array([["x" * 200_000], ["O"] * 5000, ["B-" + "x" * 9000]]),
            pyarrow.array([], pyarrow.list_(pyarrow.string())),
            pyarrow.array([[10**18] * 3, [1], []], pyarrow.list_(pyarrow.decimal128(38, 5))),
        )
    )


def _unchecked(lists: Any) -> Any:
    """Lists of bytes that call themselves text."""
    bytes_of = lists.values
    values = pyarrow.Array.from_buffers(pyarrow.string(), len(bytes_of), bytes_of.buffers())
    return pyarrow.ListArray.from_arrays(lists.offsets, values)
