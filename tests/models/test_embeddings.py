"""A student's first embeddings."""

from __future__ import annotations

import pytest
import torch
from support.tiny_teacher import BERT_PIECES, load, save_bert, save_xlm_roberta

from xtremedistil_ner.models.embeddings import carry_embeddings, reduce_by_svd
from xtremedistil_ner.models.teacher import piece_embeddings


def matrix_of(rows, columns, *, seed=0):
    torch.manual_seed(seed)
    return torch.randn(rows, columns) * torch.linspace(3, 0.1, columns)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return load(save_bert(tmp_path_factory.mktemp("bert")))


@pytest.fixture(scope="module")
def xlm_roberta(tmp_path_factory):
    return load(save_xlm_roberta(tmp_path_factory.mktemp("xlm-roberta")))


def carry(teacher, *pieces):
    return carry_embeddings(pieces, teacher.encoder.tokenizer, piece_embeddings(teacher))


def rows_of(teacher, *pieces):
    """The mean of the embeddings of some pieces of the teacher, by name."""
    names = teacher.tokenizer.get_vocab()
    return piece_embeddings(teacher)[[names[piece] for piece in pieces]].mean(dim=0)


@pytest.mark.parametrize("width", [1, 5, 12])
def test_the_reduced_matrix_is_u_s_of_torchs_svd_up_to_signs(width):
    matrix = matrix_of(60, 12)
    left, values, _ = torch.linalg.svd(matrix, full_matrices=False)
    expected = left[:, :width] * values[:width]
    found = reduce_by_svd(matrix, width)
    assert found.shape == (60, width)
    assert found.dtype == torch.float32
    signs = (found * expected).sum(dim=0).sign()
    assert torch.allclose(found, expected * signs, atol=1e-4)


def test_inner_products_survive_a_reduction_to_full_width():
    matrix = matrix_of(30, 7)
    reduced = reduce_by_svd(matrix, 7)
    assert torch.allclose(reduced @ reduced.T, matrix @ matrix.T, atol=1e-3)


def test_the_sign_of_an_axis_does_not_depend_on_the_sign_of_the_data():
    """The largest entry of every axis is positive: turning the matrix round turns the coordinates round."""
    matrix = matrix_of(40, 6)
    assert torch.allclose(reduce_by_svd(-matrix, 3), -reduce_by_svd(matrix, 3), atol=1e-5)
    assert torch.allclose(reduce_by_svd(matrix.flip(0), 3), reduce_by_svd(matrix, 3).flip(0), atol=1e-4)


def test_pieces_that_the_teacher_has_keep_their_rows(bert):
    pieces = [BERT_PIECES[0], "ab", "##ab", "c", "[UNK]"]
    carried = carry(bert, *pieces)
    for piece, row in zip(pieces, carried, strict=True):
        if piece != "[UNK]":
            assert torch.equal(row, rows_of(bert, piece)), piece


def test_a_longer_piece_is_the_mean_of_the_teachers_pieces_of_its_text(bert):
    assert torch.allclose(carry(bert, "abcde")[0], rows_of(bert, "ab", "##cd", "##e"))


def test_a_continuation_is_cut_as_one(bert):
    assert torch.allclose(carry(bert, "##abcde")[0], rows_of(bert, "##ab", "##cd", "##e"))


def test_a_piece_without_any_of_the_teachers_starts_from_the_mean_of_all(bert):
    mean = piece_embeddings(bert).mean(dim=0)
    assert torch.allclose(carry(bert, "zz", "##z", "[UNK]"), mean.expand(3, -1))


def test_word_pieces_find_their_text_in_a_sentence_piece_vocabulary(xlm_roberta):
    """`ab` starts a word here and goes on there: names must not be compared across the two kinds of tokenizer."""
    carried = carry(xlm_roberta, "ab", "abcd", "##ab", "##abcd", "##zz")
    expected = [rows_of(xlm_roberta, *pieces) for pieces in (["▁ab"], ["▁ab", "cd"], ["ab"], ["ab", "cd"])]
    assert torch.allclose(carried[:4], torch.stack(expected))
    assert torch.allclose(carried[4], piece_embeddings(xlm_roberta).mean(dim=0))
