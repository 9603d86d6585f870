"""An encoder under another vocabulary: how a good monolingual model begins to read other languages.

Its layers stay, and its piece embeddings are made anew. Pieces that both vocabularies have keep their rows, others
start from the mean of the rows of their text, and pieces of which the encoder knows nothing start from random rows.
Masked-language-model training has to follow, at first with the layers frozen.

Source: Artetxe et al. 2020, *On the Cross-lingual Transferability of Monolingual Representations*. There all new rows
are random; to carry rows over is ours.
"""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedConfig

from xtremedistil_ner.errors import RecipeError
from xtremedistil_ner.models.embeddings import carry_embeddings
from xtremedistil_ner.models.pretrained import as_transformers_tokenizer, counts_from_padding
from xtremedistil_ner.models.teacher import Teacher, assemble_teacher, piece_embeddings

_ROLES = ("pad", "unk", "cls", "sep", "mask")


def with_vocabulary(teacher: Teacher, tokenizer: Tokenizer, *, max_pieces: int, seed: int) -> Teacher:
    """The teacher with the pieces of `tokenizer`, a WordPiece one that has all special pieces.

    Raises: as `require_positions_from_zero`.
    """
    model = teacher.model
    require_positions_from_zero(model.config)
    ids = tokenizer.get_vocab()
    pieces = sorted(ids, key=ids.__getitem__)
    old, fast = piece_embeddings(teacher), as_transformers_tokenizer(tokenizer)
    rows = carry_embeddings(pieces, teacher.encoder.tokenizer, old)
    unknown = (rows == old.mean(dim=0)).all(dim=1)
    random = torch.Generator().manual_seed(seed)
    rows[unknown] += torch.randn(int(unknown.sum()), old.shape[1], generator=random) * old.std(dim=0)
    for role in _ROLES:
        before, now = (getattr(either, f"{role}_token_id") for either in (teacher.tokenizer, fast))
        if before is not None:
            rows[now] = old[before]
    embeddings = model.resize_token_embeddings(len(pieces), mean_resizing=False)
    with torch.no_grad():
        embeddings.weight.copy_(rows)
    model.config.pad_token_id = fast.pad_token_id
    return assemble_teacher(model, fast, teacher.scheme, columns=teacher.columns, max_pieces=max_pieces)


def require_positions_from_zero(config: PreTrainedConfig) -> None:
    """Raises: RecipeError for a family that counts its positions from the padding piece, whose id may change."""
    if counts_from_padding(config):
        raise RecipeError(
            f"teacher.vocabulary: {config.model_type} counts positions from the id of its padding piece, which may "
            "change. Take a BERT or another family that counts from 0."
        )
