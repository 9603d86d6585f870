"""JSON objects of annotation tools: a text and its entities by character offsets.

| tool | object |
|---|---|
| doccano | `text`, and `label` or `labels` of `[start, end, type]` |
| doccano | `text`, and `entities` with `start_offset`, `end_offset`, `label` |
| `xner tag` | `text`, and `entities` with `start`, `end`, `type` |
| Prodigy | `text`, `spans` with `start`, `end`, `label`, and `answer` |
| Label Studio | `data`, and `annotations` with `result` |
| Label Studio, JSON-MIN | `text`, and entries with `start`, `end`, `labels` under the name of a control tag |

An object with entities under several keys is refused, and so are entities under a key that no tool writes: whichever
list were taken, the others would silently be lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from xtremedistil_ner.corpus.annotations import AnnotatedText, TextSpan, make_span
from xtremedistil_ner.corpus.split import SplitRows
from xtremedistil_ner.errors import CorpusError, quoted

_SPAN_KEYS = ("spans", "label", "labels", "entities")
_OTHER_KEYS = ("tokens", "relations")
"""Keys of Prodigy and doccano for lists that look like entities."""
_TYPE_KEYS = ("labels", "label", "type")
_MARKS = ("answer", "annotation_id")
"""Keys of Prodigy and of JSON-MIN that mark an annotated text which has no entity, and so none of the keys above."""
_TASK_KEYS = ("annotations", "completions")
"""Keys of Label Studio since and before its version 1.0."""


def is_annotated(record: Mapping[str, Any]) -> bool:
    """Whether an object comes from an annotation tool, and is not a list of words with their tags."""
    if isinstance(record.get("data"), dict):
        return True
    if not isinstance(record.get("text"), str):
        return False
    return any(key in record for key in (*_SPAN_KEYS, *_MARKS)) or bool(_span_keys(record))


def read_annotated(record: Mapping[str, Any], number: int, rows: SplitRows) -> AnnotatedText | None:
    """The annotated text of an object; None for one that was rejected or is unfinished, which is counted.

    Raises: CorpusError that says what is wrong; the caller adds the location.
    """
    location = f"{rows.name}{rows.unit}{number}"
    if isinstance(data := record.get("data"), dict):
        results = _results(record, rows)
        text = _text_of(data)
        spans = None if results is None else _task_spans(results, location, rows)
        reason = "without a finished annotation"
    else:
        text = record["text"]
        spans = _record_spans(record, location) if record.get("answer", "accept") == "accept" else None
        reason = "with an answer other than accept"
    if spans is None:
        rows.pass_over(reason)
        return None
    return AnnotatedText(number, text, tuple(spans))


def _record_spans(record: Mapping[str, Any], location: str) -> list[TextSpan]:
    keys = _span_keys(record)
    if len(keys) > 1:
        raise CorpusError(f"entities under {quoted(', '.join(keys))}. Keep them under one key, and remove the others.")
    if not keys:
        return []
    key, entries = keys[0], record[keys[0]]
    if not isinstance(entries, list):
        raise CorpusError(f"{key} is {quoted(entries)}, no list. Give one entry for each entity.")
    if key not in _SPAN_KEYS and not all(isinstance(entry, dict) and "labels" in entry for entry in entries):
        raise CorpusError(f"entities under the unknown key {quoted(key)}. Call it entities, or remove it.")
    return [span for entry in entries for span in _spans_of(entry, location)]


def _span_keys(record: Mapping[str, Any]) -> list[str]:
    """The keys under which an object has entities: known keys that are not empty, and others with a list of spans."""
    known = [key for key in _SPAN_KEYS if record.get(key) not in (None, [])]
    others = record.keys() - {*_SPAN_KEYS, *_OTHER_KEYS}
    return known + sorted(key for key in others if isinstance(record[key], list) and any(map(_is_span, record[key])))


def _is_span(entry: object) -> bool:
    """Whether an entry has the form of an entity: an object with start, end and a type, or `[start, end, type]`."""
    if isinstance(entry, dict):
        has_offsets = all(name in entry or f"{name}_offset" in entry for name in ("start", "end"))
        return has_offsets and any(name in entry for name in _TYPE_KEYS)
    return isinstance(entry, list) and [type(value) for value in entry] == [int, int, str]


def _spans_of(entry: object, location: str) -> Iterator[TextSpan]:
    """The spans of an entry, one for each of its labels."""
    if isinstance(entry, list) and len(entry) == 3:
        yield make_span(entry[0], entry[1], entry[2], location)
    elif isinstance(entry, dict):
        start, end = (entry.get(name, entry.get(f"{name}_offset")) for name in ("start", "end"))
        labels = next((entry[name] for name in _TYPE_KEYS if name in entry), None)
        for label in labels if isinstance(labels, list) and labels else [labels]:
            yield make_span(start, end, label, location, entry.get("text"))
    else:
        raise CorpusError(f"{quoted(entry)} is no entity. Give [start, end, type], or an object with them.")


def _results(task: Mapping[str, Any], rows: SplitRows) -> list[object] | None:
    """The results of the ground truth, or else of the first annotation that was not cancelled; others are counted."""
    annotations: object = next((task[key] for key in _TASK_KEYS if key in task), [])
    if not isinstance(annotations, list) or not all(isinstance(annotation, dict) for annotation in annotations):
        raise CorpusError(f"the annotations are {quoted(annotations)}, no list of objects. Export the task again.")
    finished = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
    if not finished:
        return None
    chosen = next((annotation for annotation in finished if annotation.get("ground_truth")), finished[0])
    rows.spans["other_annotators"] += len(finished) - 1
    results = chosen.get("result")
    if not isinstance(results, list):
        raise CorpusError(f"the result is {quoted(results)}, no list. Export the task again.")
    return results


def _task_spans(results: list[object], location: str, rows: SplitRows) -> list[TextSpan]:
    spans: list[TextSpan] = []
    for result in results:
        result_type = result.get("type") if isinstance(result, dict) else None
        if result_type in ("hypertextlabels", "paragraphlabels"):
            raise CorpusError(f"{result_type} have no offsets in a plain text. Label plain text.")
        if isinstance(result, dict) and result_type == "labels":
            spans += _spans_of(result.get("value"), location)
        else:
            rows.spans["other"] += 1
    return spans


def _text_of(data: Mapping[str, object]) -> str:
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    chosen = "text" if "text" in texts else next(iter(texts), None)
    if chosen is None or (chosen != "text" and len(texts) > 1):
        raise CorpusError(f"which of {quoted(', '.join(data))} is the text? Call it text.")
    return texts[chosen]
