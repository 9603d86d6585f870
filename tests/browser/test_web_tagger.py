"""Tagging in the browser gives what Python gives: words, rows of pieces and entities, in node with onnxruntime-web.

XNER_ORT_WEB names the folder of the package: `npm install onnxruntime-web` makes node_modules/onnxruntime-web.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import unicodedata
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_student import MAX_PIECES, SCHEME, make_network, save_tiny_student
from support.tiny_transformer import save_tiny_transformer
from tagging.test_any_text import SCRIPTS

from xtremedistil_ner.corpus.words import split_words
from xtremedistil_ner.export.folder import write_export
from xtremedistil_ner.models.bilstm import BiLstm
from xtremedistil_ner.models.crf import Crf
from xtremedistil_ner.models.student import load_student, save_student
from xtremedistil_ner.pieces.encoder import PieceEncoder
from xtremedistil_ner.pieces.vocabulary import SPECIAL_PIECES, wordpiece_tokenizer
from xtremedistil_ner.tagging.tagger import Tagger

pytestmark = pytest.mark.browser

PROGRAM = Path(__file__).with_name("tag_with_node.mjs")
CODE_POINTS = range(0x110000)
# Capital letters that Unicode 16 and 17 brought: a node with an older one keeps them.
LATER_CAPITALS = {0x1C89, 0xA7CB, 0xA7CC, 0xA7CE, 0xA7D2, 0xA7D4, 0xA7DA, 0xA7DC} | {
    *range(0x10D50, 0x10D66),
    *range(0x16EA0, 0x16EB9),
}
NASTY = [
    "",
    " ",
    "\t\r\n\x0b\x0c\x1c\u0085\u00a0\u2028\u2029\u3000",
    "\0",
    "\ufffd \u200b \u00ad \ufeff",
    "Anna\0Berg So\u00adfia \ufeffOslo\u200b Li\u200dn",
    "one\u2028two\u2029three\u0085four\u00a0five\u1680six\u202fseven\u180eeight\x1cnine",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 in \U0001f1fa\U0001f1e6",
    "\u2764\ufe0f 1\ufe0f\u20e3 Hi Anna\U0001f44b\U0001f3fd!",
    "\ud800 a\udfffb \udbff\ud7ff Anna\udc00",
    "e\u0301te\u0301 E\u0301TE\u0301 q\u0307\u0323 \u0344\u0301\u0308 \u0f73\u0f75 \u1e69\u0323",
    "İSTANBUL ΟΔΥΣΣΕΥΣ ΣΑΣ ẞ ǅ ŉ ﬃ K Å Ω ꙮ",
    "≠ ≮a ;· \u1fef \u2f800 \u0374 \u0340\u0341 각 갂 \uac01\u11a8",
    "中文Anna日本語𠀀\U0002f800豈々〆〇かなカナ한국어",
    "[CLS] [PAD] x[SEP]y [UNK] [MASK] ##a #",
    "שלום (אנה) \u202eabc\u202c مرحبا، آنا؟ \u200fAnna\u200e",
    "क्षत्रिय ราชอาณาจักร ქართული ՀԱՅԵՐԵՆ አማርኛ",
    "\U0001d400\U0001d7ce \U00010400 \U0001e900 \U0010ffff \uffff \ue000 \U000e0041",
    "U.S.A. e-mail: a@b.c $5 50% «d» “e” ¿f? ‽ § ¶ ¡ + < = > ^ ` | ~",
    *(letter * length for letter in "aÄя中\u0301\U0001f600-" for length in (99, 100, 101, 150)),
    "Anna " * 3000,
    "abc, " * 2000,
    "\u200b " * 500 + "Anna",
    " ".join("ab" * (1 + number % 40) for number in range(1200)),
]


def random_text(generator):
    alphabets = list(SCRIPTS.values())
    words = []
    for _ in range(generator.randrange(1, 40)):
        alphabet = generator.choice(alphabets)
        words.append("".join(generator.choice(alphabet) for _ in range(generator.randrange(1, 12))))
    return generator.choice([" ", "", "\n", "  "]).join(words)


def some_texts(number):
    """Hand-made and random texts; JSON joins lone surrogates that make a pair, as every JavaScript string does."""
    generator = random.Random(13)
    texts = [*NASTY, *(random_text(generator) for _ in range(number - len(NASTY)))]
    return json.loads(json.dumps(texts))


TEXTS = some_texts(1000)


@pytest.fixture(scope="session")
def node():
    """Whatever a request asks of tag_with_node.mjs; an error that the module raises is a RuntimeError."""
    program, package = shutil.which("node"), os.environ.get("XNER_ORT_WEB")
    if not program or not package:
        pytest.skip("needs node, and XNER_ORT_WEB=…/node_modules/onnxruntime-web")

    def answer(do, **request):
        content = json.dumps({"do": do, **request})
        done = subprocess.run([program, PROGRAM, package], input=content, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return json.loads(done.stdout)

    return answer


@cache
def rich_vocabulary():
    """Pieces of one, two and three characters of all scripts, as they are and normalised both ways."""
    generator = random.Random(7)
    texts = [*NASTY, *(random_text(generator) for _ in range(400))]
    normalisers = [
        wordpiece_tokenizer(SPECIAL_PIECES, lowercase=lowercase, special_rows=False).normalizer
        for lowercase in (True, False)
    ]
    words = {word for text in texts for word, _, _ in split_words(text)}
    words |= {normaliser.normalize_str(word) for word in words for normaliser in normalisers}
    pieces = {word[start : start + length] for word in words for start in range(9) for length in (1, 2, 3)}
    pieces = sorted(piece for piece in pieces if piece and not piece.isspace() and generator.random() < 0.8)
    return list(dict.fromkeys([*SPECIAL_PIECES, *pieces, *(f"##{piece}" for piece in pieces)]))


def save_lowercased_student(folder):
    torch.manual_seed(0)
    network = BiLstm(replace(make_network().shape, vocabulary_size=len(rich_vocabulary()))).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    tokenizer = wordpiece_tokenizer(rich_vocabulary(), lowercase=True, special_rows=False)
    save_student(folder, network, tokenizer, SCHEME, lowercase=True, max_pieces=2 * MAX_PIECES)


STUDENTS = {
    "bilstm": save_tiny_student,
    "crf": lambda folder: save_tiny_student(folder, crf=Crf(SCHEME)),
    "lowercased": save_lowercased_student,
    "transformer": save_tiny_transformer,
}


@pytest.fixture(scope="module", params=STUDENTS)
def export(request, tmp_path_factory):
    """An export, and the same as a folder for the browser."""
    folder = tmp_path_factory.mktemp(request.param)
    STUDENTS[request.param](folder / "student")
    (folder / "export").mkdir()
    write_export(folder / "student", folder / "export", report=None, licence="other", recipe_name="tiny")
    write_web_folder(folder / "export", folder / "web")
    return folder / "export", folder / "web"


def write_web_folder(export, target):
    student = load_student(export)
    target.mkdir()
    shutil.copyfile(export / "onnx" / "model.onnx", target / "model.onnx")
    shutil.copyfile(export / "tokenizer.json", target / "tokenizer.json")
    model = {
        "tags": student.scheme.tags,
        "types": student.scheme.types,
        "max_pieces": student.config["max_pieces"],
        "transitions": None if student.transitions is None else student.transitions.tolist(),
    }
    (target / "model.json").write_text(json.dumps(model), encoding="utf-8")


def test_the_browser_finds_the_entities_that_python_finds(node, export):
    folder, web = export
    expected = Tagger.from_pretrained(folder).tag(TEXTS)
    found = node("tag", folder=str(web), texts=TEXTS)
    assert sum(map(len, expected)) > 1000
    for text, theirs, ours in zip(TEXTS, found, expected, strict=True):
        assert [(entity["text"], entity["type"], entity["start"], entity["end"]) for entity in theirs] == [
            (entity.text, entity.type, entity.start, entity.end) for entity in ours
        ], repr(text[:200])
        assert [entity["score"] for entity in theirs] == pytest.approx([entity.score for entity in ours], abs=1e-5)


def test_every_code_point_splits_words_as_in_python(node):
    texts = [f"a{chr(point)}b" for point in CODE_POINTS]
    words = node("split", texts=texts)
    differing = [
        hex(point)
        for point, text, found in zip(CODE_POINTS, texts, words, strict=True)
        if list(map(tuple, found)) != split_words(text)
    ]
    assert not differing


def test_texts_split_as_in_python(node):
    for text, words in zip(TEXTS, node("split", texts=TEXTS), strict=True):
        assert list(map(tuple, words)) == split_words(text)


@pytest.mark.parametrize("lowercase", [True, False])
def test_every_code_point_is_normalised_as_in_python(node, tmp_path, lowercase):
    """Also words of several characters, whose marks are put in order; words as they are split, without white space."""
    tokenizer = wordpiece_tokenizer(SPECIAL_PIECES, lowercase=lowercase, special_rows=False)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    words = [f"a{chr(point)}b" for point in CODE_POINTS if not (lowercase and point in LATER_CAPITALS)]
    words += random_words(random.Random(13), 20_000)
    words = list(dict.fromkeys(part for word in words for part, _, _ in split_words(word)))
    assert len(words) > 1_100_000
    found = node("normalise", folder=str(tmp_path), texts=words)
    expected = [tokenizer.normalizer.normalize_str(word) for word in words]
    differing = [ascii(word) for word, theirs, ours in zip(words, found, expected, strict=True) if theirs != ours]
    assert not differing


def random_words(generator, number):
    known = [chr(point) for point in CODE_POINTS if unicodedata.category(chr(point)) not in ("Cn", "Cs", "Co", "Lo")]
    marks = [character for character in known if unicodedata.combining(character)]
    return [
        "".join(generator.choice(generator.choice([known, marks])) for _ in range(generator.randrange(1, 8)))
        for _ in range(number)
    ]


@pytest.mark.parametrize("special_rows", [True, False])
@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("max_pieces", [3, 7, 24, 256])
def test_rows_have_the_pieces_of_python(node, tmp_path, lowercase, special_rows, max_pieces):
    tokenizer = wordpiece_tokenizer(rich_vocabulary(), lowercase=lowercase, special_rows=special_rows)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    sentences = [[word for word, _, _ in split_words(text)] for text in TEXTS]
    encoded = PieceEncoder(tokenizer, max_pieces=max_pieces, pad_id=0).encode(sentences)
    rows = node("rows", folder=str(tmp_path), sentences=sentences, max_pieces=max_pieces)
    assert len(rows) == encoded.n_rows
    for number, row in enumerate(rows):
        pieces = slice(*encoded.piece_offsets[number : number + 2])
        words = slice(*encoded.word_offsets[number : number + 2])
        assert row["ids"] == encoded.pieces[pieces].tolist()
        assert row["sentence"] == encoded.sentence[number]
        scored = np.flatnonzero(encoded.kept[words] & (encoded.first_piece[words] >= 0))
        assert row["scored"] == [
            {"word": int(encoded.first_word[number] + word), "piece": int(encoded.first_piece[words][word])}
            for word in scored
        ]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("normalizer", {"type": "NFC"}, "normalizer NFC, expected BertNormalizer"),
        ("pre_tokenizer", None, "expected BertPreTokenizer"),
        ("post_processor", {"type": "RobertaProcessing"}, "post_processor RobertaProcessing"),
        ("model", {"type": "BPE"}, "model BPE, expected WordPiece"),
        ("model", {"type": "WordPiece", "unk_token": "<unk>", "vocab": {"[PAD]": 0}}, "no <unk>"),
        ("added_tokens", [{"content": "names", "normalized": False}], "added token names"),
    ],
)
def test_another_tokenizer_is_refused_by_name(node, tmp_path, key, value, message):
    settings = json.loads(wordpiece_tokenizer(SPECIAL_PIECES, lowercase=True, special_rows=True).to_str())
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings | {key: value}), encoding="utf-8")
    with pytest.raises(RuntimeError, match=message):
        node("rows", folder=str(tmp_path), sentences=[], max_pieces=8)
