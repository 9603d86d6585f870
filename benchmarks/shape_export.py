"""An export of a student that was never trained, for benchmarks: speed does not depend on its weights.

    python benchmarks/shape_export.py vocab.txt 50x200-direct --width 50 --hidden 200 --head direct
    python benchmarks/shape_export.py vocab.txt cnn-100x3 --kind cnn --width 50 --hidden 100 --head direct
    xner bench 50x200-direct cnn-100x3

`vocab.txt` is a BERT vocabulary, one piece a line. Seven tags, with a bias towards `O`, so that entities are as rare as
they can be; the int8 graph is there without being judged.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from xtremedistil_ner.export.folder import write_export
from xtremedistil_ner.export.int8_verdict import Int8Verdict
from xtremedistil_ner.labels import LabelScheme
from xtremedistil_ner.models.kinds import KINDS
from xtremedistil_ner.models.student import save_student
from xtremedistil_ner.pieces.vocabulary import read_vocabulary, wordpiece_tokenizer
from xtremedistil_ner.recipe.schema import OWN_KINDS, StudentSection

SCHEME = LabelScheme(("LOC", "ORG", "PER"))


def main() -> None:
    """Write the export."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("vocabulary", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kind", choices=OWN_KINDS, default="bilstm")
    parser.add_argument("--width", type=int, default=50, help="of embeddings")
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--head", choices=("direct", "projected"), default="projected")
    given = parser.parse_args()
    pieces = read_vocabulary(given.vocabulary)
    torch.manual_seed(0)
    section = StudentSection(embedding_width=given.width, hidden_width=given.hidden, head=given.head)
    kind = KINDS[given.kind]
    network = kind.network(
        kind.new_shape(section, vocabulary_size=len(pieces), representation_width=768, tags=len(SCHEME.tags))
    )
    with torch.no_grad():
        network.classifier.bias[0] += 1.0
    tokenizer = wordpiece_tokenizer(pieces, lowercase=False, special_rows=False)
    given.out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        save_student(Path(folder), network, tokenizer, SCHEME, lowercase=False, max_pieces=512)
        write_export(
            Path(folder),
            given.out,
            formats=("hf", "onnx", "onnx-int8"),
            judge=lambda *_: Int8Verdict({}, {}, forced=True),
            report=None,
            licence="other",
            recipe_name=given.out.name,
        )


if __name__ == "__main__":
    main()
