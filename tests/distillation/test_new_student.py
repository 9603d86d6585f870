"""A student before training: where its first weights come from."""

from __future__ import annotations

import pytest
import torch
from support.tiny_teacher import BERT_PIECES, LAYERS, SCHEME, WIDTH, load

from xtremedistil_ner.distillation.new_student import new_student
from xtremedistil_ner.errors import RecipeError
from xtremedistil_ner.models.transformer import choose_layers
from xtremedistil_ner.pieces.vocabulary import SPECIAL_PIECES, wordpiece_tokenizer
from xtremedistil_ner.recipe.reader import load_recipe

CNN = ("student.kind=cnn", "student.embedding_width=8", "student.cnn={layers: 2, kernel: 3}")
TRANSFORMER = ("student.kind=transformer", "student.transformer.hidden_width=8", "student.transformer.heads=2")
FROM_TEACHER = ("student.kind=transformer", "student.transformer={start: teacher, layers: 3}")


@pytest.fixture(scope="module")
def recipe_with(finished_run):
    return lambda *overrides: load_recipe(finished_run / "tiny.yaml", overrides=overrides)


def pruned_tokenizer():
    """Part of the tiny BERT's pieces, in another order."""
    return wordpiece_tokenizer([*SPECIAL_PIECES, *reversed(BERT_PIECES[5:][::2])], lowercase=False, special_rows=True)


def hidden_of(network, tokenizer, words):
    ids = torch.tensor([tokenizer.encode(words, is_pretokenized=True).ids])
    with torch.no_grad():
        return network.eval().hidden(ids, torch.ones_like(ids))


@pytest.mark.parametrize("start", ["teacher", "checkpoint"])
def test_with_all_layers_of_a_bert_the_student_has_its_states(recipe_with, bert_folder, xlm_roberta_folder, start):
    """The BERT cuts these words into the same pieces, so pruning must not change a bit."""
    overrides, teacher, bert = FROM_TEACHER, load(bert_folder), load(bert_folder)
    if start == "checkpoint":
        overrides = (FROM_TEACHER[0], f"student.transformer={{start: checkpoint, checkpoint: {bert_folder}}}")
        teacher = load(xlm_roberta_folder)
    tokenizer = pruned_tokenizer()
    words = [piece for piece in tokenizer.get_vocab() if piece.isalpha()][:5]
    network = new_student(recipe_with(*overrides), tokenizer, teacher)
    ids = torch.tensor([bert.tokenizer(words, is_split_into_words=True)["input_ids"]])
    with torch.no_grad():
        expected = bert.model.bert(input_ids=ids).last_hidden_state
    assert torch.equal(hidden_of(network, tokenizer, words), expected)
    assert network.shape.layers == LAYERS
    assert network.model.classifier.weight.shape == (len(SCHEME.tags), WIDTH)
    assert network.model.classifier.weight.abs().max() < 0.2, "a new classifier, not the teacher's"


def test_chosen_layers_of_a_teacher_are_taken_in_order(recipe_with, bert_folder):
    teacher = load(bert_folder)
    wanted = "student.transformer={start: teacher, teacher_layers: [1, 3]}"
    network = new_student(recipe_with(FROM_TEACHER[0], wanted), pruned_tokenizer(), teacher)
    source, own = teacher.model.bert.encoder.layer, network.model.bert.encoder.layer
    assert len(own) == 2
    for place, layer in enumerate((0, 2)):
        for name, weight in source[layer].state_dict().items():
            assert torch.equal(own[place].state_dict()[name], weight), name


@pytest.mark.parametrize(
    ("count", "available", "expected"), [(4, 12, (3, 6, 9, 12)), (1, 3, (3,)), (2, 3, (1, 3)), (3, 3, (1, 2, 3))]
)
def test_layers_are_evenly_spaced_up_to_the_last(count, available, expected):
    assert choose_layers(count, (), available=available) == expected


@pytest.mark.parametrize(("count", "wanted"), [(4, ()), (1, (0,)), (1, (2, 4))])
def test_layers_that_a_teacher_does_not_have_are_refused(count, wanted):
    with pytest.raises(RecipeError, match="layers 1 to 3"):
        choose_layers(count, wanted, available=3)


def test_only_a_bert_gives_layers(recipe_with, xlm_roberta_folder, bert_folder):
    with pytest.raises(RecipeError, match="model_type is 'xlm-roberta'"):
        new_student(recipe_with(*FROM_TEACHER), pruned_tokenizer(), load(xlm_roberta_folder))
    start = f"student.transformer={{start: checkpoint, checkpoint: {xlm_roberta_folder}}}"
    with pytest.raises(RecipeError, match=r"student\.transformer\.checkpoint .*model_type is 'xlm-roberta'"):
        new_student(recipe_with(FROM_TEACHER[0], start), pruned_tokenizer(), load(bert_folder))


def test_windows_longer_than_a_berts_positions_are_refused(recipe_with, bert_folder):
    with pytest.raises(RecipeError, match=r"student\.max_pieces 41: .* at most 40 pieces"):
        new_student(recipe_with(*FROM_TEACHER, "student.max_pieces=41"), pruned_tokenizer(), load(bert_folder))


def test_a_random_transformer_starts_from_the_teachers_pieces(recipe_with, bert_folder):
    """Pieces that are near each other in the teacher are near in the student: distances rank alike at full width."""
    teacher = load(bert_folder)
    wide = ("student.kind=transformer", f"student.transformer={{hidden_width: {WIDTH}, heads: 2}}")
    tokenizer = pruned_tokenizer()
    network = new_student(recipe_with(*wide), tokenizer, teacher)
    names = teacher.tokenizer.get_vocab()
    pieces = [piece for piece in tokenizer.get_vocab() if piece not in SPECIAL_PIECES]
    source = teacher.model.bert.embeddings.word_embeddings.weight.detach()[[names[piece] for piece in pieces]]
    own = network.embeddings.weight.detach()[[tokenizer.token_to_id(piece) for piece in pieces]]
    ratio = torch.pdist(own) / torch.pdist(source)
    assert torch.allclose(ratio, ratio.mean().expand_as(ratio), rtol=1e-3)
    assert network.embeddings.weight.square().mean().sqrt().item() == pytest.approx(0.02, rel=1e-3)


def test_convolutions_start_from_the_embeddings_that_an_lstm_starts_from(recipe_with, bert_folder):
    teacher, tokenizer = load(bert_folder), pruned_tokenizer()
    bilstm, cnn = (new_student(recipe_with(*fields), tokenizer, teacher) for fields in (CNN[1:2], CNN))
    assert torch.equal(cnn.embeddings.weight, bilstm.embeddings.weight)
    assert (cnn.shape.layers, cnn.shape.kernel, cnn.shape.hidden_width) == (2, 3, 6)


def test_random_embeddings_are_drawn_as_berts_are(recipe_with, bert_folder):
    network = new_student(recipe_with(*TRANSFORMER, "student.embeddings=random"), pruned_tokenizer(), load(bert_folder))
    assert 0.015 < network.embeddings.weight.std() < 0.025


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (("student.embedding_width=13",), "student.embedding_width"),
        (("student.kind=transformer", "student.transformer={hidden_width: 14, heads: 2}"), "transformer.hidden_width"),
    ],
)
def test_embeddings_wider_than_the_teachers_must_be_random(recipe_with, bert_folder, overrides, field):
    tokenizer, teacher = pruned_tokenizer(), load(bert_folder)
    with pytest.raises(RecipeError, match=rf"{field} 1[34]: .* at most {WIDTH} columns"):
        new_student(recipe_with(*overrides), tokenizer, teacher)
    assert new_student(recipe_with(*overrides, "student.embeddings=random"), tokenizer, teacher)


@pytest.mark.parametrize("overrides", [TRANSFORMER, FROM_TEACHER, CNN, ()])
def test_every_strategy_starts_from_the_same_weights(recipe_with, bert_folder, overrides):
    with_projection, without = (
        new_student(
            recipe_with(*overrides, f"train.strategy={strategy}", "student.head=direct"),
            pruned_tokenizer(),
            load(bert_folder),
        ).state_dict()
        for strategy in ("D4.2", "D1")
    )
    assert with_projection.keys() - without.keys() == {"projection.weight", "projection.bias"}
    assert all(torch.equal(with_projection[name], weight) for name, weight in without.items())


def test_layers_share_out_every_parameter_from_top_to_bottom(recipe_with, bert_folder):
    network = new_student(recipe_with(*FROM_TEACHER), pruned_tokenizer(), load(bert_folder))
    assert list(network.layers()) == ["classifier", "projection", "layer 3", "layer 2", "layer 1", "embeddings"]
    owners = [
        [layer for layer, prefixes in network.layers().items() if name.startswith(prefixes)]
        for name, _ in network.named_parameters()
    ]
    assert all(len(found) == 1 for found in owners)
    assert {found[0] for found in owners} == set(network.layers())
