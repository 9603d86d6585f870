"""A short probe of an export's speed, so that every report has some figures; `xner bench` measures with care.

It tags sentences of the corpus as a service does, through the graph, on one thread: for a moment many at a time, in
process CPU time, which other programs change less than wall time, then one at a time, in wall time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import numpy as np

from xtremedistil_ner.corpus.joined_text import join_words
from xtremedistil_ner.corpus.labelled import LabelledCorpus
from xtremedistil_ner.processes.cores import processor_name
from xtremedistil_ner.report.speed import PROBE, RECORD_SCHEMA
from xtremedistil_ner.tagging.export_reader import GRAPH_FILES
from xtremedistil_ner.tagging.tagger import Tagger

_MOST_TEXTS = 4096
_TEXTS_PER_CALL = 64
_WARM_UP = 16
_PART_S = 0.4
"""Wall time of each of the two parts, for each graph: 1.6 s with two graphs."""


def measure_speed(
    export: Path, fingerprint: str, corpus: LabelledCorpus, languages: Sequence[str]
) -> dict[str, Any] | None:
    """The record of a probe, as JSON has it; None without a graph or without text."""
    split, texts = _texts(corpus, languages)
    graphs = [precision for precision, file in GRAPH_FILES.items() if (export / file).is_file()]
    if not texts or not graphs:
        return None
    onnxruntime = packages_distributions()["onnxruntime"][0]  # or onnxruntime-gpu
    return {
        "schema": RECORD_SCHEMA,
        "stage": PROBE,
        "exports": {export.name: fingerprint},
        "machine": {
            "processor": processor_name(),
            "threads": 1,
            "device": "cpu",
            "versions": {"onnxruntime": version(onnxruntime)},
        },
        "workload": {"name": f"{corpus.name}, {split}", "synthetic": corpus.synthetic, "sentences": len(texts)},
        "graphs": {
            precision: _measure(Tagger.from_pretrained(export, precision=precision), texts) for precision in graphs
        },
    }


def _texts(corpus: LabelledCorpus, languages: Sequence[str]) -> tuple[str, list[str]]:
    """Sentences of dev, of all languages in turn, or of another split if dev has none."""
    each = max(1, _MOST_TEXTS // max(1, len(languages)))
    for split in ("dev", "test", "train"):
        of_languages = [corpus.sentences(language, split)[:each] for language in languages]
        sentences = [sentence.words for of_language in of_languages for sentence in of_language]
        if sentences:
            order = np.random.default_rng(0).permutation(len(sentences)).tolist()
            return split, [join_words(sentences[number])[0] for number in order]
    return "", []


def _measure(tagger: Tagger, texts: Sequence[str]) -> dict[str, float | int]:
    """Sentences a second of processor time, and the 95th percentile of the wall time of a text by itself.

    Each call has new texts until all were used.
    """
    tagger.tag(texts[:_WARM_UP])
    done, start, begin = 0, time.monotonic(), time.process_time()
    while time.monotonic() - start < _PART_S:
        place = done % len(texts)
        part = texts[place : place + _TEXTS_PER_CALL]
        tagger.tag(part)
        done += len(part)
    speed = done / max(time.process_time() - begin, 1e-9)
    taken: list[float] = []
    start = time.monotonic()
    while time.monotonic() - start < _PART_S:
        begin = time.perf_counter()
        tagger.tag([texts[(done + len(taken)) % len(texts)]])
        taken.append(time.perf_counter() - begin)
    return {"sentences_per_s": speed, "p95_ms": float(np.percentile(taken, 95)) * 1000, "calls": len(taken)}
