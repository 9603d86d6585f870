"""A client that follows an export's `CONTRACT.md` and nothing of ours: the vectors' answers, and `Tagger`'s."""

from __future__ import annotations

import json
import math
from functools import partial

import numpy as np
import onnxruntime
import pytest
from support.tiny_export import make_export
from support.tiny_student import MAX_PIECES, SCHEME, make_cnn, make_network, save_tiny_student
from support.tiny_transformer import save_tiny_transformer
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from xtremedistil_ner.models.crf import Crf
from xtremedistil_ner.tagging.tagger import Entity, Tagger

TEXTS = ["Abc de, fGh a.b", "", " \u200b ", "Abc Xyz de fGh " * 30, "a" * 60 + " Abc \u200b gh", "Ab\u200b, " * 40]


def make_crf():
    crf = Crf(SCHEME)
    crf.scores.data = 3 * np_sines(crf.scores.shape)
    return crf


def np_sines(shape):
    import torch

    return torch.sin(torch.arange(math.prod(shape)).float()).reshape(shape)


SAVERS = {
    "bilstm": save_tiny_student,
    "crf": lambda folder: save_tiny_student(folder, crf=make_crf()),
    "cnn": partial(save_tiny_student, make=make_cnn),
    "transformer": save_tiny_transformer,
}


@pytest.fixture(params=SAVERS)
def export(request, tmp_path):
    return make_export(tmp_path, save=SAVERS[request.param])


@pytest.fixture
def vectors(export):
    return json.loads((export / "decoding_vectors.json").read_text(encoding="utf-8"))


def cut(counts, room):
    """Step 3."""
    ends = [sum(counts[: word + 1]) for word in range(len(counts))]
    windows, start, keep_start = [], 0, 0
    while True:
        before = ends[start - 1] if start else 0
        stop = max(start + 1, sum(end <= before + room for end in ends))
        if stop == len(counts):
            return [*windows, [start, stop, keep_start, stop]]
        following = 1 + next(word for word, end in enumerate(ends) if end >= ends[stop - 1] - room // 4)
        following = min(stop, max(start + 1, following))
        keep_stop = (following + stop + 1) // 2
        windows.append([start, stop, keep_start, keep_stop])
        start, keep_start = following, keep_stop


def decode(logits, tags, transitions):
    """Step 6."""
    numbers = range(len(tags))

    def step(before, tag):
        if tags[tag].startswith("I-") and (before is None or tags[before][2:] != tags[tag][2:]):
            return -math.inf
        return 0.0 if transitions is None else transitions[0 if before is None else 1 + before][tag]

    best = [step(None, tag) + logits[0][tag] for tag in numbers]
    came_from = []
    for row in logits[1:]:
        came_from.append([max(numbers, key=lambda p, tag=tag: best[p] + step(p, tag)) for tag in numbers])
        best = [best[p] + step(p, tag) + row[tag] for tag, p in enumerate(came_from[-1])]
    path = [max(numbers, key=best.__getitem__)]
    for back in reversed(came_from):
        path.insert(0, back[path[0]])
    return path


def entities_of(path, logits, tags):
    """Step 7."""
    entities = []
    for word, tag in enumerate(path):
        if tags[tag].startswith("B-"):
            entities.append({"type": tags[tag][2:], "first": word, "stop": word + 1})
        elif tags[tag].startswith("I-"):
            entities[-1]["stop"] = word + 1
    for entity in entities:
        shares = []
        for row in logits[entity["first"] : entity["stop"]]:
            weights = [math.exp(logit - max(row)) for logit in row]
            own = [weight for tag, weight in zip(tags, weights, strict=True) if tag[2:] == entity["type"]]
            shares.append(sum(own) / sum(weights))
        entity["score"] = sum(shares) / len(shares)
    return entities


def transitions_of(export):
    return json.loads((export / "config.json").read_text(encoding="utf-8")).get("transitions")


def test_the_page_gives_the_vectors_answers(export, vectors):
    tags, transitions = vectors["tags"], transitions_of(export)
    assert f"At most {MAX_PIECES} pieces".lower() in (export / "CONTRACT.md").read_text(encoding="utf-8")
    for window in vectors["windows"]:
        assert cut(window["pieces"], vectors["room"]) == window["windows"]
    for case in vectors["decoding"]:
        path = decode(case["logits"], tags, transitions)
        assert [tags[tag] for tag in path] == case["tags"], case["name"]
        found = entities_of(path, case["logits"], tags)
        assert [{**entity, "score": pytest.approx(entity["score"])} for entity in found] == case["entities"]


def test_the_vectors_have_best_tags_that_are_illegal_and_windows_that_overlap(vectors):
    bests = [[vectors["tags"][np.argmax(row)] for row in case["logits"]] for case in vectors["decoding"]]
    assert sum(best != case["tags"] for best, case in zip(bests, vectors["decoding"], strict=True)) >= 3
    assert any(case["entities"] for case in vectors["decoding"])
    assert sum(len(window["windows"]) > 1 for window in vectors["windows"]) >= 3


def test_a_client_that_follows_the_page_has_the_taggers_entities(export, vectors):
    tags, room = vectors["tags"], vectors["room"]
    tokenizer = Tokenizer.from_file(str(export / "tokenizer.json"))
    session = onnxruntime.InferenceSession(str(export / "onnx" / "model.onnx"))

    def logits_of(words):
        """Steps 2 to 5, a row at a time."""
        result = [[0.0] + [-10_000.0] * (len(tags) - 1) for _ in words]
        counts = [len(tokenizer.encode([word], is_pretokenized=True, add_special_tokens=False).ids) for word in words]
        for start, stop, keep_start, keep_stop in cut(counts, room):
            row = tokenizer.encode(words[start:stop], is_pretokenized=True)
            body = [place for place, word in enumerate(row.word_ids) if word is not None]
            kept = [place for place in range(len(row.ids)) if place not in body[room:]]
            if not kept:
                continue
            ids = np.array([[row.ids[place] for place in kept]])
            (logits,) = session.run(["logits"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
            owners = [row.word_ids[place] for place in kept]
            for word in range(keep_start, keep_stop):
                if word - start in owners:
                    result[word] = logits[0, owners.index(word - start)].tolist()
        return result

    for text, expected in zip(TEXTS, Tagger.from_pretrained(export).tag(TEXTS), strict=True):
        places = BertPreTokenizer().pre_tokenize_str(text)
        logits = logits_of([word for word, _ in places]) if places else []
        path = decode(logits, tags, transitions_of(export)) if places else []
        found = [
            Entity(text[start:stop], entity["type"], start, stop, pytest.approx(entity["score"], abs=1e-5))
            for entity in entities_of(path, logits, tags)
            for start, stop in [(places[entity["first"]][1][0], places[entity["stop"] - 1][1][1])]
        ]
        assert found == expected


def test_the_vectors_are_the_same_bytes_every_time(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = (make_export(tmp_path / name, save=partial(save_tiny_student, make=make_network)) for name in "ab")
    assert (first / "decoding_vectors.json").read_bytes() == (second / "decoding_vectors.json").read_bytes()
