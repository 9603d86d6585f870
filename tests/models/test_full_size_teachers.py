"""mBERT and XLM-R at full size: real configurations, random weights, loaded by id from a local cache without network.

The vocabulary files are not part of this project. Give their paths in `XNER_MBERT_VOCABULARY` (vocab.txt) and
`XNER_XLMR_SENTENCEPIECE` (sentencepiece.bpe.model); a test without its file is skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.tiny_run import write_corpus, write_recipe
from transformers import BertConfig, BertForTokenClassification, XLMRobertaConfig, XLMRobertaForTokenClassification

pytestmark = pytest.mark.slow

TAGS = ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER")
REVISION = "0123456789abcdef0123456789abcdef01234567"
TEACHERS = {
    "bert-base-multilingual-cased": (
        "XNER_MBERT_VOCABULARY",
        "vocab.txt",
        BertForTokenClassification,
        BertConfig(vocab_size=119_547),
        177_268_231,
    ),
    "FacebookAI/xlm-roberta-base": (
        "XNER_XLMR_SENTENCEPIECE",
        "sentencepiece.bpe.model",
        XLMRobertaForTokenClassification,
        XLMRobertaConfig(
            vocab_size=250_002,
            max_position_embeddings=514,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
        ),
        277_458_439,
    ),
}


def lay_out_as_on_the_hub(home, name, vocabulary, file_name, factory, config):
    """A Hub cache with one snapshot of a checkpoint with random weights; its number of parameters."""
    repository = home / "hub" / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    config.id2label, config.label2id = dict(enumerate(TAGS)), {tag: index for index, tag in enumerate(TAGS)}
    torch.manual_seed(0)
    model = factory(config)
    model.save_pretrained(snapshot)
    shutil.copy(vocabulary, snapshot / file_name)
    limits = {"do_lower_case": False, "model_max_length": 512}
    (snapshot / "tokenizer_config.json").write_text(json.dumps(limits))
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", TEACHERS)
def test_a_full_size_checkpoint_is_loaded_by_id_offline_labels_and_is_distilled(name, tmp_path):
    variable, file_name, factory, config, parameters = TEACHERS[name]
    if variable not in os.environ:
        pytest.skip(f"{variable} is not set")
    home = tmp_path / "hf"
    found = lay_out_as_on_the_hub(home, name, os.environ[variable], file_name, factory, config)
    assert found == parameters
    recipe = write_recipe(tmp_path / "tiny.yaml", write_corpus(tmp_path / "corpus"))
    command = [Path(sys.executable).with_name("xner"), "distil", recipe, "--out", tmp_path / "run", "--json"]
    overrides = ["teacher.shape=null", f"teacher.checkpoint={name}", "finetune.epochs=0", "train.updates=4"]
    if file_name != "vocab.txt":
        overrides.append("student.vocabulary=trained")
    for override in overrides:
        command += ["--set", override]
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["report"]
    assert report["models"]["teacher"]["parameters"] == parameters
    assert report["compression"] > 100
    assert (tmp_path / "run" / "export" / "onnx" / "model.onnx").exists()
