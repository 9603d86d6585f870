"""Names from outside: what is admitted as a language, a type or a file, and how Markdown shows what was admitted."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtremedistil_ner.addresses import text_without_secrets, without_secrets
from xtremedistil_ner.corpus.folder import languages_of, text_languages
from xtremedistil_ner.corpus.raw_text import languages_in
from xtremedistil_ner.corpus.records import read_jsonl
from xtremedistil_ner.errors import CorpusError, StoreError, UsageError, XnerError
from xtremedistil_ner.labels import LabelScheme, split_tag
from xtremedistil_ner.names import admit_language, escape_markdown, is_inside, is_type, require_distinct
from xtremedistil_ner.run_folder.soft_labels import open_store, shard_place, store_fingerprint

CODES = ("en", "zh-Hans", "sr_Latn", "bat-smg", "zh_classical", "be-x-old", "no", "EN", "x", "x" * 64, "1")
NO_CODES = (
    "",
    ".",
    "..",
    "../x",
    "/etc",
    "a/b",
    "a\\b",
    "-x",
    "x-",
    "_x",
    "a b",
    "a.b",
    "a\0b",
    "en\n",
    "x" * 65,
    "é",
    "a|b",
)
TYPES = ("PER", "geo-loc", "PERSON.NOM", "location-road/railway", "人名", "R&D", "<b>", "x" * 100)
NO_TYPES = ("", " ", "a b", "a\tb", "a\nb", "a\u2028b", "a\u00a0b", "a\0b", "\x1b[31m", "a\u202eb", "x" * 101)


@pytest.mark.parametrize("code", CODES)
def test_codes_of_languages_are_admitted(code):
    assert admit_language(code, "here") == code


@pytest.mark.parametrize("code", [*NO_CODES, None, 3, ["en"]])
def test_what_is_no_code_is_refused_with_its_place_and_shortly_quoted(code):
    with pytest.raises(CorpusError, match=r"^f\.jsonl:7: the language is .*A language code has") as caught:
        admit_language(code, "f.jsonl:7")
    assert len(str(caught.value)) < 300


def test_languages_that_differ_in_case_alone_are_refused():
    with pytest.raises(CorpusError, match="languages EN and en differ in case alone"):
        require_distinct(["en", "de", "EN"], "The transfer set")


@pytest.mark.parametrize("name", ["-x", "_x", "a b", "a.b", "é", "a|b", "<img onerror=x>", "a\nb", "x" * 65])
def test_a_folder_and_a_text_file_that_are_no_language_are_named(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "train.tsv").write_text("a\tO\n", encoding="utf-8")
    (tmp_path / f"{name}.txt").write_text("a\n", encoding="utf-8")
    for read in (languages_of, text_languages):
        with pytest.raises(CorpusError, match="the language is"):
            read(tmp_path)


def test_hidden_folders_and_files_are_no_languages(tmp_path):
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "train.tsv").write_text("a\tO\n", encoding="utf-8")
    (tmp_path / ".notes.txt").write_text("a\n", encoding="utf-8")
    assert languages_of(tmp_path) == text_languages(tmp_path) == ()


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize("code", NO_CODES)
def test_a_language_column_with_no_code_is_refused_with_its_row(tmp_path, code, ending):
    path = tmp_path / f"t.{ending}"
    rows = [{"text": "a", "language": "en"}, {"text": "b", "language": code}]
    if ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    with pytest.raises(CorpusError, match=r"t\.(jsonl:2|parquet, row 1): the language is"):
        languages_in(path)


@pytest.mark.parametrize("kind", TYPES)
def test_types_are_admitted_in_tags(kind):
    assert split_tag(f"B-{kind}") == ("B", kind)
    assert LabelScheme((kind,)).tags == ("O", f"B-{kind}", f"I-{kind}")


@pytest.mark.parametrize("kind", NO_TYPES)
def test_what_is_no_type_is_refused_in_schemes_tags_and_files(tmp_path, kind):
    assert not is_type(kind)
    with pytest.raises(UsageError, match="An entity type is"):
        LabelScheme((kind,))
    with pytest.raises(CorpusError, match="is not a tag"):
        split_tag(f"B-{kind}")
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"words": ["a"], "tags": [f"B-{kind}"]}), encoding="utf-8")
    with pytest.raises(CorpusError, match=r"train\.jsonl:1: .* is no tag"):
        read_jsonl(path, language="en")


@pytest.mark.parametrize("name", ["a", "onnx/model.onnx", ".hidden"])
def test_files_inside_a_folder_are_told(name):
    assert is_inside(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/../../b", "/a", "a//b", "./a", "a/", "a\\b", "a\0", "C:a", 3, None]
)
def test_files_outside_a_folder_are_told(name):
    assert not is_inside(name)


@pytest.mark.parametrize("name", ["../victim", "/victim", "..", ".", "", "a/b", ".writing", 3, None])
def test_a_store_never_names_a_shard_outside_of_itself(tmp_path, name):
    with pytest.raises(StoreError, match="is no name of a shard"):
        shard_place(tmp_path, name)
    shards = [{"name": name, "language": "en", "manifest_sha256": ""}]
    manifest = {"fingerprint": "f", "tags": ["O"], "languages": {}, "files": {}, "shards": shards}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert store_fingerprint(tmp_path) is None
    with pytest.raises(StoreError, match="is no name of a shard"):
        open_store(tmp_path)


@given(st.text())
def test_escaped_text_has_no_html_no_table_border_and_no_line_end(text):
    escaped = escape_markdown(text)
    assert len(escaped.splitlines()) <= 1
    assert not re.search(r"(?<![^\W_])(?<!\\)_|(?<!\\)_(?![^\W_])|(?<!\\)~", escaped)
    assert not re.search(r"[<>]|(?<!\\)(?:\\\\)*[|`*\[\]]", escaped)


@pytest.mark.parametrize(
    ("address", "clean"),
    [
        ("http://user:SECRET@host/a", "http://host/a"),
        ("s3://KEY:SEC/RET@bucket/a", "s3://bucket/a"),
        ("ftp://user:SE%40CRET@host:21/a?x=SECRET", "ftp://host:21/a"),
        ("http://user:SE@CRET@[::1]:80/", "http://[::1]:80/"),
        ("zip://a.tsv::https://u:SECRET@h/x.zip?t=SECRET", "zip://a.tsv::https://h/x.zip"),
        ("https:/user:SECRET@host", "https:/host"),
        ("hf://datasets/org/name@main/a", "hf://datasets/org/name@main/a"),
        ("http://host:8000/a@b", "http://host:8000/a@b"),
        ("a/what?.tsv", "a/what?.tsv"),
        ("//user:SECRET@host/a", "//host/a"),
        ("https://user:12 SE CRET@host/a", "https://host/a"),
        ("https://SE CRET@host/a", "https://host/a"),
        ("/data//a:b@c", "/data//a:b@c"),
    ],
)
def test_an_address_loses_its_user_information_and_query_and_nothing_else(address, clean):
    assert without_secrets(address) == clean
    assert text_without_secrets(f"'{address}' or so") in (f"'{clean}' or so", f"'{clean} or so")


def test_no_error_of_ours_has_a_password():
    assert str(XnerError("http://u:SECRET@h/x?token=SECRET: no such file")) == "http://h/x no such file"


def test_a_secret_is_found_in_a_url_that_is_glued_to_other_text():
    assert text_without_secrets("1http://me:SECRET@host/a?token=SECRET and x") == "1http://host/a and x"
