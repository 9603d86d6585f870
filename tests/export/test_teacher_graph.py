"""Teachers that label on CPU: matrices packed once, or int8 on ONNX Runtime behind a measurement."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
import torch
from support.tiny_run import write_corpus, write_recipe
from support.tiny_teacher import SCHEME, load, save_bert, save_xlm_roberta

from xtremedistil_ner.corpus.labelled import open_corpus
from xtremedistil_ner.errors import ModelError, RecipeError
from xtremedistil_ner.export.onnx_bert import build_bert_graph
from xtremedistil_ner.export.teacher_graph import (
    MAX_DIVERGENCE,
    Int8Cost,
    int8_predictor,
    measure_int8,
    require_bearable,
)
from xtremedistil_ner.models.packed_layers import PackedLinear, pack_layers
from xtremedistil_ner.models.scratch_teacher import build_teacher
from xtremedistil_ner.models.teacher import teacher_predictor
from xtremedistil_ner.pieces.vocabulary import SPECIAL_PIECES, wordpiece_tokenizer
from xtremedistil_ner.pipeline.fingerprints import stage_fingerprints
from xtremedistil_ner.pipeline.run import run_pipeline
from xtremedistil_ner.progress import silent
from xtremedistil_ner.recipe.reader import load_recipe
from xtremedistil_ner.run_folder.artefacts import published_fingerprint
from xtremedistil_ner.run_folder.soft_labels import open_store

SAVERS = {"bert": save_bert, "xlm-roberta": save_xlm_roberta}
SENTENCES = [["ab", "cde", "a"], ["abcde"], ["e", "d", "cab"], ["bcd"] * 4]
TAGS = tuple(["O", *(f"{part}-{kind}" for kind in ("PER", "LOC", "ORG") for part in "BI")])


@pytest.fixture(params=SAVERS)
def teacher(request, tmp_path):
    return load(SAVERS[request.param](tmp_path / "teacher"))


def make_modernbert(_):
    tokenizer = wordpiece_tokenizer((*SPECIAL_PIECES, *"abcde"), lowercase=False, special_rows=True)
    sizes = {"layers": 2, "hidden_width": 16, "heads": 2, "dropout": 0.1, "max_pieces": 16}
    return build_teacher(tokenizer, SCHEME, **sizes, seed=0)


def one_batch(teacher):
    encoded = teacher.encoder.encode(SENTENCES)
    return teacher.encoder.collate(encoded, np.arange(encoded.n_rows))


def scores(teacher, dtype=torch.float32):
    batch = one_batch(teacher)
    return teacher_predictor(teacher, dtype)(batch)[batch.word_mask]


def shrink_logits(teacher):
    """Random weights this large are certain of every tag; a classifier's usual doubts tell more."""
    with torch.no_grad():
        teacher.model.classifier.weight.mul_(0.3)


def test_the_graph_of_a_stock_model_computes_what_torch_does(teacher):
    batch = one_batch(teacher)
    graph = build_bert_graph(teacher.model, metadata={})
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask})
    with torch.inference_mode():
        ids, mask = torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask)
        expected = teacher.model(input_ids=ids, attention_mask=mask).logits.numpy()
    real = batch.attention_mask.astype(bool)
    np.testing.assert_allclose(found[real], expected[real], atol=1e-4)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-4), (torch.bfloat16, 0.2)])
@pytest.mark.parametrize(
    "make", [lambda path: load(save_bert(path)), lambda path: load(save_xlm_roberta(path)), make_modernbert]
)
def test_packed_layers_score_as_plain_ones(make, dtype, near, tmp_path):
    teacher = make(tmp_path / "teacher")
    before = scores(teacher, dtype)
    pack_layers(teacher.model, dtype)
    if not any(isinstance(layer, PackedLinear) for layer in teacher.model.modules()):
        pytest.skip("no oneDNN kernels of this dtype here")
    np.testing.assert_allclose(scores(teacher, dtype), before, atol=near)


def test_layers_of_a_family_that_is_not_known_are_left_alone(tmp_path):
    model = load(save_bert(tmp_path / "teacher")).model
    model.config.model_type = "unheard-of"
    pack_layers(model, torch.float32)
    assert not any(isinstance(layer, PackedLinear) for layer in model.modules())


def test_int8_labels_are_near_those_of_float32(teacher):
    shrink_logits(teacher)
    cost = measure_int8(teacher, int8_predictor(teacher), SENTENCES, batch_pieces=60)
    assert cost.words == sum(map(len, SENTENCES))
    assert 0 < cost.divergence <= MAX_DIVERGENCE
    require_bearable(cost, name="teacher")


def test_the_divergence_is_that_of_the_definition(tmp_path):
    """KL of (3/4, 1/4) from (1/4, 3/4) is (1/2) log 3; the other tags have no share to speak of."""
    bert = load(save_bert(tmp_path / "teacher"))

    def always(first, second):
        def score(batch):
            logits = np.full((*batch.word_mask.shape, len(SCHEME.tags)), -1000.0, dtype=np.float32)
            logits[..., 0], logits[..., 1] = np.log(first), np.log(second)
            return logits

        return score

    with torch.no_grad():
        bert.model.classifier.weight.zero_()
        bert.model.classifier.bias.copy_(torch.tensor([np.log(0.75), np.log(0.25), -1000.0, -1000.0, -1000.0]))
    cost = measure_int8(bert, always(0.25, 0.75), SENTENCES, batch_pieces=60)
    assert cost.divergence == pytest.approx(0.5 * np.log(3), rel=1e-5)
    assert cost.other_tag == 1.0
    assert measure_int8(bert, always(0.75, 0.25), SENTENCES, batch_pieces=60).other_tag == 0.0


def test_a_teacher_that_int8_spoils_is_refused(tmp_path):
    """One state a thousand times as large as the others leaves them no steps of the scale they share."""
    bert = load(save_bert(tmp_path / "teacher"))
    with torch.no_grad():
        for layer in bert.model.bert.encoder.layer:
            layer.output.LayerNorm.bias[0] = 3000.0
            layer.attention.self.query.weight[:, 0] = layer.attention.self.key.weight[:, 0] = 0.0
            layer.attention.self.value.weight[:, 0] = layer.intermediate.dense.weight[:, 0] = 0.0
        bert.model.classifier.weight[:, 0] = 0.0
    cost = measure_int8(bert, int8_predictor(bert), SENTENCES, batch_pieces=60)
    with pytest.raises(ModelError, match=r"teacher in int8: .* 11 words .* nats .* pseudolabel.runtime to torch"):
        require_bearable(cost, name="teacher")


def test_a_cost_that_is_not_a_number_is_refused():
    assert not Int8Cost(words=1, divergence=float("nan"), other_tag=0.0).is_bearable


def test_a_family_without_a_graph_is_named():
    with pytest.raises(ModelError, match="'modernbert'"):
        int8_predictor(make_modernbert(None))


def test_a_teacher_from_scratch_has_no_int8_runtime(tmp_path):
    path = write_recipe(tmp_path / "tiny.yaml", write_corpus(tmp_path / "corpus"))
    with pytest.raises(RecipeError, match=r"onnx-int8 needs a teacher\.checkpoint"):
        load_recipe(path, overrides=["pseudolabel.runtime=onnx-int8"])


def test_a_run_labels_in_int8_and_again_when_the_runtime_changes(tmp_path):
    checkpoint = save_bert(tmp_path / "bert", tags=TAGS)
    path = write_recipe(tmp_path / "tiny.yaml", write_corpus(tmp_path / "corpus"))
    asis = ["teacher.shape=null", f"teacher.checkpoint={checkpoint}", "finetune.epochs=0"]
    plain, int8 = (
        load_recipe(path, overrides=[*asis, f"pseudolabel.runtime={name}"]) for name in ("torch", "onnx-int8")
    )
    corpus = open_corpus(plain.corpus)
    default = stage_fingerprints(load_recipe(path, overrides=asis), corpus)
    assert stage_fingerprints(plain, corpus) == default
    assert stage_fingerprints(int8, corpus)["finetune"] == default["finetune"]
    assert stage_fingerprints(int8, corpus)["pseudolabel"] != default["pseudolabel"]
    stores, shards = [], []
    for recipe in (plain, int8):
        run_pipeline(recipe, tmp_path / "run", until="pseudolabel", processes=1, tell=silent)
        labels = tmp_path / "run" / "soft_labels"
        store = open_store(labels)
        stores.append(store.logits_at(np.arange(store.n_words)).astype(np.float32))
        shards.append(published_fingerprint(labels / "en-00000"))
        assert (labels / "int8.json").exists() == (recipe is int8)
    assert shards[0] != shards[1]
    assert 0 < np.abs(stores[0] - stores[1]).max() < 0.5
    assert json.loads((labels / "int8.json").read_text())["teacher"]["words"] == len(stores[0])
