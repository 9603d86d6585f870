"""Raw text in, entities out: offsets, windows, order, and a folder that is believed only after it was checked."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.tiny_export import make_export
from support.tiny_student import LETTERS, MAX_PIECES, SCHEME, make_tokenizer

from xtremedistil_ner.corpus.words import split_words
from xtremedistil_ner.errors import ModelError, UsageError
from xtremedistil_ner.pieces.encoder import PieceEncoder
from xtremedistil_ner.tagging.tag_documents import tag_documents
from xtremedistil_ner.tagging.tagger import Entity, Tagger

ODD = "\0\u00ad\u200b\u200d\ufeff\ufffd\ud800\udfff\U0001f468\u200d\U0001f469\U0001f3fd\u0301\u3000\u00a0\t\n\x1f\u2028"
TEXTS = st.lists(st.one_of(st.text(LETTERS + ODD + " .,-", max_size=60), st.text(max_size=30)), max_size=6)
EVERY_FILE = ("README.md", "config.json", "model.safetensors", "onnx/model.onnx", "tokenizer.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_export(tmp_path_factory.mktemp("tagger"))


@pytest.fixture(scope="module")
def tagger(folder):
    return Tagger.from_pretrained(folder)


@pytest.fixture
def own_folder(tmp_path):
    return make_export(tmp_path)


def change_manifest(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(texts=TEXTS)
def test_offsets_point_at_the_entitys_text_in_any_script(tagger, texts):
    results = tagger.tag(texts)
    assert len(results) == len(texts)
    for text, entities in zip(texts, results, strict=True):
        end = 0
        for entity in entities:
            assert end <= entity.start < entity.end <= len(text)
            assert text[entity.start : entity.end] == entity.text
            assert entity.type in SCHEME.types
            assert 0 < entity.score <= 1
            end = entity.end


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(sentences=st.lists(st.lists(st.text(LETTERS + ODD, max_size=9), max_size=40), max_size=4))
def test_every_word_has_one_tag_and_the_tags_are_legal(tagger, sentences):
    results = tagger.tag_words(sentences)
    assert [len(tags) for tags in results] == [len(words) for words in sentences]
    for tags in results:
        for previous, tag in zip(("O", *tags), tags, strict=False):
            assert not tag.startswith("I-") or previous[2:] == tag[2:]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(texts=TEXTS)
def test_a_text_has_the_same_entities_alone_and_among_others(tagger, texts):
    assert tagger.tag(texts) == [tagger.tag([text])[0] for text in texts]


def test_words_of_a_text_have_the_tags_of_the_same_words_alone(tagger):
    text = "Abc de, fGh a.b ef gh Xyz"
    words = split_words(text)
    (tags,) = tagger.tag_words([[word for word, _, _ in words]])
    starts = {start for tag, (_, start, _) in zip(tags, words, strict=True) if tag.startswith("B-")}
    assert {entity.start for entity in tagger.tag([text])[0]} == starts
    assert starts, "the tiny student should find something"


def test_words_of_a_long_text_are_tagged_to_the_end(tagger):
    """Far beyond the window, and with a last word that its own window tags as an entity."""
    text = " ".join(f"{first}{second}c" for first in "abcdefghij" for second in "ABCDEFGHIJ")
    (entities,) = tagger.tag([text])
    assert len(text) > 10 * MAX_PIECES
    assert entities[0].start < 50
    assert entities[-1].end > len(text) - 50


def test_a_stream_keeps_its_order_and_reads_no_further_than_one_batch(tagger):
    read = []

    def lines():
        for number in range(20):
            read.append(number)
            yield "Abc de " * (number % 3) + f"ef{'g' * number}\n"

    stream = tagger.tag_stream(lines(), batch=4)
    first = next(stream)
    assert len(read) == 4
    texts = ["Abc de " * (number % 3) + f"ef{'g' * number}\n" for number in range(20)]
    assert [first, *stream] == [tagger.tag([text])[0] for text in texts]


def test_nothing_in_nothing_out(tagger):
    assert tagger.tag([]) == []
    assert tagger.tag(["", " \n", "\0", "\u200b", "\ud800"])[:3] == [[], [], []]
    assert tagger.tag_words([]) == []
    assert tagger.tag_words([[], ["a"]])[0] == ()
    assert list(tagger.tag_stream([])) == []


def test_a_words_score_is_the_probability_of_its_type_and_an_entitys_the_mean():
    """ORG has 1/2 + 1/12 of the first word and 3/4 + 1/24 of the second, whichever of its tags they are."""
    rows = np.full((3, 7), 1 / 12)
    rows[0, SCHEME.tag_id("B-ORG")] = 1 / 2
    rows[1] = 1 / 24
    rows[1, SCHEME.tag_id("I-ORG")] = 3 / 4
    rows[2, 0] = 1 / 2
    encoder = PieceEncoder(make_tokenizer(), max_pieces=MAX_PIECES, pad_id=0)
    tagger = Tagger(lambda batch: np.log(rows)[None].astype(np.float32), encoder, SCHEME)
    (entities,) = tagger.tag([" ab cd. "])
    assert entities == [Entity("ab cd", "ORG", 1, 6, pytest.approx((7 / 12 + 19 / 24) / 2))]


def test_an_entity_that_the_decoder_begins_is_as_sure_as_its_type():
    """The model wants `I-LOC` right away: the path says `B-LOC`, which the model gives next to nothing."""
    row = np.full((1, 7), 0.01)
    row[0, [SCHEME.tag_id("B-LOC"), SCHEME.tag_id("I-LOC")]] = 0.02, 0.93
    encoder = PieceEncoder(make_tokenizer(), max_pieces=MAX_PIECES, pad_id=0)
    tagger = Tagger(lambda batch: np.log(row)[None].astype(np.float32), encoder, SCHEME)
    assert tagger.tag(["ab"]) == [[Entity("ab", "LOC", 0, 2, pytest.approx(0.95))]]


def test_a_word_without_a_piece_is_outside_and_ends_an_entity():
    def score(batch):
        logits = np.zeros((*batch.first_piece.shape, 7), dtype=np.float32)
        logits[..., [SCHEME.tag_id("B-LOC"), SCHEME.tag_id("I-LOC")]] = 5, 9
        return logits

    tagger = Tagger(score, PieceEncoder(make_tokenizer(), max_pieces=MAX_PIECES, pad_id=0), SCHEME)
    assert tagger.tag_words([["a", "b", "\u200b", "c"]]) == [("B-LOC", "I-LOC", "O", "B-LOC")]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda tagger: tagger.tag("Ada"), r"'Ada' where several texts are expected. Call tag\(\[text\]\)"),
        (lambda tagger: tagger.tag(b"Ada"), r"b'Ada' where several"),
        (lambda tagger: tagger.tag({"Ada": 1}), r"{'Ada': 1} where several"),
        (lambda tagger: tagger.tag(None), r"None where several"),
        (lambda tagger: tagger.tag(np.array("Ada")), r"array\('Ada', dtype='<U3'\) where several"),
        (lambda tagger: tagger.tag(["a", None]), r"text 1 \(counted from 0\) is None, not a text"),
        (lambda tagger: tagger.tag(["a"] * 3000 + [b"b" * 99]), r"text 3000 .* is b'b{79}…, not a text"),
        (lambda tagger: tagger.tag([["a", "b"]]), r"text 0 .* is \['a', 'b'\], not a text"),
        (lambda tagger: tagger.tag_words("Ada"), r"'Ada' where several texts are expected. Call tag_words\(\[\[word"),
        (lambda tagger: tagger.tag_words(["Ada", "B"]), r"sentence 0 \(counted from 0\): 'Ada' where several"),
        (lambda tagger: tagger.tag_words([["a"], None]), r"sentence 1 .*: None where several"),
        (lambda tagger: tagger.tag_words([["a"], ["b", None]]), r"word 1 of sentence 1 .* is None, not a text"),
        (lambda tagger: tagger.tag_words([[b"a"]]), r"word 0 of sentence 0 .* is b'a', not a text"),
        (lambda tagger: tagger.tag_words(5), r"5 where several"),
        (lambda tagger: tagger.tag_stream("Ada"), r"'Ada' where several texts are expected. Call tag_stream"),
        (lambda tagger: list(tagger.tag_stream(iter(["a", 1]))), r"text 1 .* is 1, not a text"),
        (lambda tagger: tagger.tag_stream(["a"], batch=0), r"batch is 0"),
        (lambda tagger: tagger.tag_stream(["a"], batch=1.5), r"batch is 1.5"),
        (
            lambda tagger: tagger.tag_stream(["a"], batch=10**30),
            r"batch is 10{30}\. Give a whole number from 1 to 2,147",
        ),
        (lambda tagger: list(tag_documents(tagger, [], batch=0)), r"batch is 0"),
        (lambda tagger: list(tag_documents(tagger, ["a"])), r"'a' is no document"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(tagger, call, message):
    with pytest.raises(UsageError, match=message):
        call(tagger)


def test_whatever_goes_over_texts_will_do(tagger):
    texts = ["Abc de, fGh", "ab"]
    expected = tagger.tag(texts)
    for form in (tuple, iter, np.array, lambda values: dict.fromkeys(values).keys()):
        assert tagger.tag(form(texts)) == expected
    words = [["Abc", "de"], ["ab"]]
    assert tagger.tag_words(map(iter, words)) == tagger.tag_words([np.array(some) for some in words])


def test_any_number_of_threads_gives_the_same_bits(folder, tagger):
    texts = ["Abc de, fGh a.b ef", "gh Xyz " * 30]
    assert Tagger.from_pretrained(str(folder), threads=2).tag(texts) == tagger.tag(texts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"threads": n}, f"threads is {n!r}. Give a whole number from 1 to 1,024.") for n in (0, "2", None, 10**12)),
        *(({"device": name}, f"device is {name!r}. Give cpu or cuda.") for name in ("tpu", None, ["cpu"])),
    ],
)
def test_a_device_or_number_of_threads_that_there_is_not_is_named_with_those_there_are(folder, options, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        Tagger.from_pretrained(folder, **options)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_changed_byte_anywhere_is_refused(own_folder, name):
    path = own_folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"{name} is not the file that was exported"):
        Tagger.from_pretrained(own_folder)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_missing_file_is_refused(own_folder, name):
    (own_folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        Tagger.from_pretrained(own_folder)


def test_all_problems_of_a_folder_are_named_at_once(own_folder):
    (own_folder / "README.md").unlink()
    (own_folder / "onnx" / "model_other.onnx").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"README\.md is missing; onnx/model_other\.onnx is foreign"):
        Tagger.from_pretrained(own_folder)


def test_hidden_files_that_a_download_leaves_are_no_problem(own_folder):
    (own_folder / ".cache" / "huggingface").mkdir(parents=True)
    (own_folder / ".cache" / "huggingface" / "x.metadata").write_text("x", encoding="utf-8")
    (own_folder / ".gitattributes").write_text("x", encoding="utf-8")
    assert Tagger.from_pretrained(own_folder).scheme == SCHEME


@pytest.mark.parametrize(
    "name",
    ["../export/config.json", "/etc/hostname", "onnx//model.onnx", "./config.json", "a\\b", "", ".", "C:x", "a\0b"],
)
def test_a_manifest_that_points_outside_the_folder_is_refused(own_folder, name):
    def add(manifest):
        manifest["files"][name] = {"sha256": "0", "bytes": 1}

    change_manifest(own_folder, add)
    with pytest.raises(ModelError, match="is not a path inside the folder"):
        Tagger.from_pretrained(own_folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(kind="student"),
        lambda manifest: manifest.update(schema=1),
        lambda manifest: manifest.pop("schema"),
        lambda manifest: manifest.pop("files"),
        lambda manifest: manifest.update(files=["config.json"]),
        lambda manifest: manifest.update(files={"config.json": "0"}),
        lambda manifest: manifest.update(files={"config.json": {"bytes": "many", "sha256": "0"}}),
        lambda manifest: manifest["files"].pop("tokenizer.json"),
    ],
)
def test_a_manifest_that_is_no_exports_is_refused(own_folder, change):
    change_manifest(own_folder, change)
    with pytest.raises(ModelError, match=r"manifest\.json"):
        Tagger.from_pretrained(own_folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"null", b'{"schema": 1}'])
def test_a_broken_manifest_is_refused(own_folder, content):
    (own_folder / "manifest.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"manifest\.json"):
        Tagger.from_pretrained(own_folder)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"manifest\.json"):
        Tagger.from_pretrained(tmp_path / "nowhere")


def test_tagging_imports_neither_torch_nor_transformers(folder):
    """In a fresh interpreter; what this process has imported already does not count."""
    program = (
        "import sys\n"
        "from xtremedistil_ner import Tagger\n"
        f"Tagger.from_pretrained({str(folder)!r}).tag(['Abc de'])\n"
        "heavy = {'torch', 'transformers', 'onnx', 'pydantic', 'ruamel', 'safetensors', 'rich', 'typer', 'datasets'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr, result.returncode) == ("[]\n", "", 0)
