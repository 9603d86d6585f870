"""One student, three runtimes, the same first-piece tags: torch, ONNX Runtime, and transformers' Auto classes.

By default a random student reads 2,000 sentences of the built-in corpus. `XNER_PARITY_EXPORT` (an export folder),
`XNER_PARITY_CORPUS` (a corpus folder) or `XNER_PARITY_TEXT` (a folder of `<lang>.txt`), and `XNER_PARITY_SENTENCES` put
a trained student and other sentences, spread over all languages, in their place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from support.tiny_student import SCHEME, make_network, make_tokenizer
from transformers import AutoModelForTokenClassification, AutoTokenizer

import xtremedistil_ner.hf  # noqa: F401 - registers the architecture
from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.corpus.places import demo_path
from xtremedistil_ner.corpus.streams import open_text
from xtremedistil_ner.corpus.words import split_words
from xtremedistil_ner.export.folder import write_export
from xtremedistil_ner.models.student import load_student, save_student, student_predictor
from xtremedistil_ner.pieces.encoder import PieceBatch
from xtremedistil_ner.recipe.data_sections import CorpusSection
from xtremedistil_ner.tagging.export_reader import GRAPH_FILES
from xtremedistil_ner.tagging.tagger import session_predictor

N_SENTENCES = int(os.environ.get("XNER_PARITY_SENTENCES", "2000"))
BATCH = 32
RELATIVE = 1e-6
"""Beside 1e-5 absolute: logits of a trained student reach 11, where float32 itself was seen 1.3e-5 from float64."""


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if given := os.environ.get("XNER_PARITY_EXPORT"):
        return Path(given)
    student, target = (tmp_path_factory.mktemp(name) for name in ("student", "export"))
    save_student(student, make_network(), make_tokenizer(), SCHEME, lowercase=False, max_pieces=512)
    write_export(student, target, report=None, licence="other", recipe_name="parity")
    return target


@pytest.fixture(scope="module")
def sentences() -> list[list[str]]:
    parts = _raw_sentences(Path(given)) if (given := os.environ.get("XNER_PARITY_TEXT")) else _labelled_sentences()
    return [words for part in parts for words in islice(part, -(-N_SENTENCES // len(parts)))][:N_SENTENCES]


def _labelled_sentences() -> list[Iterator[list[str]]]:
    corpus = open_corpus(CorpusSection(path=os.environ.get("XNER_PARITY_CORPUS", str(demo_path()))))
    return [iter([list(s.words) for s in corpus.sentences(name, "train")]) for name in corpus.languages]


def _raw_sentences(folder: Path) -> list[Iterator[list[str]]]:
    """The words of each line of each file, as raw text is split everywhere."""
    return [
        ([word for word, _, _ in split_words(line)] for line in open_text(path))
        for path in sorted(folder.glob("*.txt*"))
    ]


def test_torch_onnx_and_transformers_give_the_same_first_piece_tags(export: Path, sentences: list[list[str]]) -> None:
    student = load_student(export)
    session = onnxruntime.InferenceSession(str(export / GRAPH_FILES["float32"]), providers=["CPUExecutionProvider"])
    by_torch = student_predictor(student.network)
    by_onnx = session_predictor(session, n_tags=len(student.scheme.tags))
    model = AutoModelForTokenClassification.from_pretrained(export).eval()
    tokenizer = AutoTokenizer.from_pretrained(export)
    assert len(sentences) == N_SENTENCES
    n_words = 0
    for start in range(0, N_SENTENCES, BATCH):
        part = sentences[start : start + BATCH]
        encoded = student.encoder.encode(part)
        batch = student.encoder.collate(encoded, np.arange(encoded.n_rows))
        torch_logits, onnx_logits = by_torch(batch)[batch.word_mask], by_onnx(batch)[batch.word_mask]
        np.testing.assert_allclose(onnx_logits, torch_logits, atol=1e-5, rtol=RELATIVE)
        np.testing.assert_array_equal(onnx_logits.argmax(axis=-1), torch_logits.argmax(axis=-1))
        if len(encoded.sentence) == len(part):  # no sentence was long enough for windows, which are not transformers'
            expected = _tags_by_transformers(model, tokenizer, part, batch)
            np.testing.assert_array_equal(torch_logits.argmax(axis=-1), expected)
            n_words += len(expected)
    assert n_words > N_SENTENCES


def _tags_by_transformers(
    model: torch.nn.Module, tokenizer: object, part: list[list[str]], batch: PieceBatch
) -> np.ndarray:
    """Argmax tags at first pieces by transformers' own tokenizer and model, in the order of the batch's mask."""
    inputs = tokenizer(part, is_split_into_words=True, padding=True, return_tensors="pt")  # type: ignore[operator]
    with torch.inference_mode():
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits.numpy()
    tags = []
    for row, sentence in enumerate(part):
        first: dict[int, int] = {}
        for position, word in enumerate(inputs.word_ids(row)):
            if word is not None:
                first.setdefault(word, position)
        assert set(first) == set(np.flatnonzero(batch.word_mask[row])), sentence
        tags += [int(logits[row, first[word]].argmax()) for word in sorted(first)]
    return np.array(tags)
