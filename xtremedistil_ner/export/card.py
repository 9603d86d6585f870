"""The model card of an export: what the model is, how well it tags, and how to load it with three libraries.

The front matter is the Hub's. Its snippets run as they stand, from inside the folder; a test runs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.languages import language_name
from xtremedistil_ner.models.bilstm import BiLstmShape
from xtremedistil_ner.models.transformer_student import TransformerShape

_SYNTHETIC = """
> **Synthetic scores.** This model was trained and scored on generated text. Its scores say that the pipeline works,
> and nothing about real text.
"""

_USE = """
## Use

Run these inside this folder, or give its path instead of `"."`. They share pieces and scores. {windows}

With `xner` (numpy, tokenizers and ONNX Runtime; it checks `manifest.json` first):

```python
from xtremedistil_ner import Tagger

tagger = Tagger.from_pretrained(".")
for entity in tagger.tag(["Marie Curie was born in Warsaw."])[0]:
    print(entity.text, entity.type, entity.start, entity.end, entity.score)
```

With `transformers`:

```python
{pipeline}
print(tagger("Marie Curie was born in Warsaw."))
```

With ONNX Runtime alone, in any language that has it. A word takes the tag of its first piece; in a batch, padding
goes to the right, with 0 in `attention_mask`:

```python
import json

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
session = onnxruntime.InferenceSession("onnx/model.onnx")
tags = json.loads(session.get_modelmeta().custom_metadata_map["tags"])

encoding = tokenizer.encode("Marie Curie was born in Warsaw.")
input_ids = np.array([encoding.ids], dtype=np.int64)
inputs = {"input_ids": input_ids, "attention_mask": np.ones_like(input_ids)}
(logits,) = session.run(["logits"], inputs)
previous = None
for word, piece, scores in zip(encoding.word_ids, encoding.tokens, logits[0]):
    if {starts}:
        print(piece, tags[scores.argmax()])
    previous = word
```
"""

_CRF_USE = """

This student has a CRF: `xner` alone adds its transition scores (`transitions` in `config.json`) to the logits and takes
the best path, as the scores above were made. The other two take each word's best tag."""
_BILSTM_USE = {
    "{windows}": (
        "`xner` alone reads long\n"
        "texts in the windows that the model was trained on, and never answers an `I-` tag that continues nothing."
    ),
    "{pipeline}": (
        "import xtremedistil_ner.hf  # registers the architecture\n"
        "from transformers import pipeline\n\n"
        'tagger = pipeline("token-classification", model=".", aggregation_strategy="first")'
    ),
    "{starts}": "word != previous",
}
_TRANSFORMER_USE = {
    "{windows}": (
        "`xner` cuts long\n"
        "texts at word borders into windows of {max_pieces} pieces; `transformers` does so with `stride`, and the\n"
        "graph alone leaves it to you. `xner` alone never answers an `I-` tag that continues nothing."
    ),
    "{pipeline}": (
        "from transformers import pipeline\n\n"
        'tagger = pipeline("token-classification", model=".", aggregation_strategy="first", stride={stride})'
    ),
    "{starts}": "word is not None and word != previous",
}


def format_card(
    shape: BiLstmShape | TransformerShape,
    scheme: LabelScheme,
    *,
    max_pieces: int,
    has_crf: bool = False,
    report: Mapping[str, Any] | None,
    licence: str,
    recipe_name: str,
) -> str:
    """The text of the folder's `README.md`; without a report it has no scores and no languages."""
    library = "transformers" if isinstance(shape, TransformerShape) else "xtremedistil-ner"
    front_matter = _front_matter(report, licence=licence, recipe_name=recipe_name, library=library)
    text = f"---\n{front_matter}\n---\n\n# {recipe_name}\n\n"
    text += (
        f"A small tagger for named entities ({', '.join(scheme.types)}), distilled from a transformer with `xner`, "
        f"recipe `{recipe_name}`. {_format_shape(shape)} It was trained on windows of at most {max_pieces} pieces.\n"
    )
    if report is not None:
        text += (_SYNTHETIC if report.get("synthetic") else "") + _format_scores(report)
    return text + _format_use(shape, max_pieces, has_crf=has_crf)


def _format_shape(shape: BiLstmShape | TransformerShape) -> str:
    if isinstance(shape, TransformerShape):
        return (
            f"A BERT: {shape.layers} layers of width {shape.hidden_width} with {shape.heads} heads, "
            f"{shape.vocabulary_size:,} piece embeddings."
        )
    return (
        f"One bidirectional LSTM: {shape.vocabulary_size:,} piece embeddings of width {shape.embedding_width}, "
        f"{shape.hidden_width} units per direction."
    )


def _format_use(shape: BiLstmShape | TransformerShape, max_pieces: int, *, has_crf: bool) -> str:
    text = _USE.replace("{windows}", "{windows}" + _CRF_USE) if has_crf else _USE
    for place, words in (_TRANSFORMER_USE if isinstance(shape, TransformerShape) else _BILSTM_USE).items():
        text = text.replace(place, words)
    return text.replace("{max_pieces}", str(max_pieces)).replace("{stride}", str(max_pieces // 4))


def _front_matter(report: Mapping[str, Any] | None, *, licence: str, recipe_name: str, library: str) -> str:
    languages: Mapping[str, Any] = {}
    results = []
    if report is not None:
        student = report["models"]["student"]
        languages = student["languages"]
        where = {"corpus": _corpus_name(report), "split": _split(report)}
        results = [_result("macro F1", student["macro_f1"], language=None, **where)]
        results += [_result(f"F1 ({code})", scores["f1"], language=code, **where) for code, scores in languages.items()]
    data = ModelCardData(
        language=list(languages) or None,
        license=licence,
        library_name=library,
        pipeline_tag="token-classification",
        tags=["named-entity-recognition", "knowledge-distillation", "onnx"],
        model_name=recipe_name,
        eval_results=results or None,
    )
    return data.to_yaml().strip()


def _result(metric: str, value: float, *, language: str | None, corpus: str, split: str) -> EvalResult:
    return EvalResult(
        task_type="token-classification",
        dataset_type=corpus,
        dataset_name=corpus,
        dataset_config=language,
        dataset_split=split,
        metric_type="f1",
        metric_name=metric,
        metric_value=round(value, 6),
    )


def _corpus_name(report: Mapping[str, Any]) -> str:
    """A corpus's id on the Hub, or the last part of its path: the rest of it is nobody's business."""
    try:
        corpus = report["run"]["recipe"]["corpus"]
        return str(corpus["hub"]["id"]) if corpus.get("hub") else PurePath(corpus["path"] or "demo").name
    except (KeyError, TypeError):  # a report without its recipe
        return "unnamed"


def _split(report: Mapping[str, Any]) -> str:
    """The split that the report's scores are of."""
    return str(report.get("run", {}).get("split", "test"))


def _format_scores(report: Mapping[str, Any]) -> str:
    student = report["models"]["student"]
    teacher = report["models"].get("teacher", {})
    kept = report.get("retention", {})
    text = (
        f"\n## Scores\n\nF1 of whole entities on the {_split(report)} split, IOB2, strict, in percent; 95 % bootstrap "
        "intervals.\n\n"
    )
    text += "| language | teacher | student | interval | retention |\n|---|---:|---:|---:|---:|\n"
    for code, scores in student["languages"].items():
        text += (
            f"| {language_name(code)} ({code}) | {_percent(teacher.get('languages', {}).get(code, {}).get('f1'))} "
            f"| {_percent(scores['f1'])} | {_percent(scores.get('f1_low'))} to {_percent(scores.get('f1_high'))} "
            f"| {_percent(kept.get('languages', {}).get(code))} |\n"
        )
    text += (
        f"| **mean** | {_percent(teacher.get('macro_f1'))} | **{_percent(student['macro_f1'])}** | "
        f"| {_percent(kept.get('macro'))} |\n"
    )
    if student.get("parameters") and report.get("compression"):
        text += (
            f"\nThe student has {student['parameters']:,} parameters, the teacher {report['compression']:.1f} times as "
            "many. Retention is the student's F1 over the teacher's.\n"
        )
    return text


def _percent(share: object) -> str:
    return f"{100 * share:.2f}" if isinstance(share, int | float) else "–"
