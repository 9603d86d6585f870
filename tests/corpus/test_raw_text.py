"""Unlabelled text in every place and form: `.txt`, `.jsonl`, `.parquet`, by folder or as one file."""

from __future__ import annotations

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from corpus.test_labelled import opened, write
from xtremedistil_ner.corpus.folder import find_text, read_text, text_languages
from xtremedistil_ner.corpus.raw_text import sentences_of
from xtremedistil_ner.corpus.records import parquet_batches
from xtremedistil_ner.corpus.transfer import (
    TransferCounts,
    held_out_keys,
    iter_transfer,
    transfer_hash,
    transfer_languages,
)
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.recipe.data_sections import TransferSection

TEXTS = ["New text.", "Hi", "new text .", "", "Two\nlines"]


@pytest.fixture
def corpus(tmp_path):
    write(tmp_path / "corpus" / "en" / "train.tsv", "Ann/B-PER sang/O")
    write(tmp_path / "corpus" / "en" / "dev.tsv", "Hi/O")
    return opened(tmp_path / "corpus")


def write_text(path, texts, column="text", **columns):
    """Texts in the form that the name of the file says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {column: texts, **columns}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    lines = [
        text.replace("\n", " ") if path.name.endswith(".txt") else json.dumps(row)
        for text, row in zip(texts, rows, strict=True)
    ]
    content = "".join(f"{line}\n" for line in lines).encode()
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    else:
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def kept(corpus, path, language="en", **fields):
    section = TransferSection(path=str(path), training_text=False, **fields)
    counts = TransferCounts()
    found = iter_transfer(corpus, section, language, held_out=held_out_keys(corpus), counts=counts)
    return [" ".join(sentence.words) for sentence in found], counts


@pytest.mark.parametrize("name", ["en.jsonl", "en.jsonl.gz", "en.parquet"])
def test_tables_are_texts_whose_lines_are_sentences_without_duplicates_and_held_out_ones(tmp_path, corpus, name):
    write_text(tmp_path / "text" / name, TEXTS)
    assert find_text(tmp_path / "text", "en").name == name
    assert kept(corpus, tmp_path / "text") == (
        ["New text .", "Two", "lines"],
        TransferCounts(read=5, duplicates=1, held_out=1, kept=3),
    )


@pytest.mark.parametrize("name", ["eo.jsonl", "eo.parquet"])
def test_lists_of_words_are_taken_as_they_are(tmp_path, name):
    path = write_text(tmp_path / name, [["No.", "1!"], None, [], ["x"]], column="tokens")
    assert [s.words for s in read_text(path, language="eo", column="tokens")] == [("No.", "1!"), ("x",)]


def test_ids_are_file_and_line_or_row(tmp_path):
    for name, ids in (("en.jsonl", [1, 3]), ("en.parquet", [0, 2])):
        path = write_text(tmp_path / name, ["a", None, "b"])
        assert [s.id for s in read_text(path, language="en")] == [f"{name}:{number}" for number in ids]


def test_languages_of_a_folder_are_those_of_all_formats(tmp_path):
    for name in ("en.txt.xz", "zh-classical.jsonl", "xx.parquet", "readme.md", "eo.csv"):
        (tmp_path / name).touch()
    assert text_languages(tmp_path) == ("en", "xx", "zh-classical")


@pytest.mark.parametrize("name", ["all.jsonl", "all.parquet"])
def test_one_file_may_have_all_languages_in_a_column(tmp_path, corpus, name):
    texts, languages = ["One", "Du", "Eno"], ["en", "eo", "en"]
    path = write_text(tmp_path / name, texts, language=languages)
    assert transfer_languages(corpus, TransferSection(path=str(path))) == ("en", "eo")
    assert [kept(corpus, path, language)[0] for language in ("en", "eo", "xx")] == [["One", "Eno"], ["Du"], []]
    hashes = {transfer_hash(corpus, TransferSection(path=str(path)), language) for language in ("eo", "xx")}
    assert len(hashes) == 2, "xx has no text"


@pytest.mark.parametrize("name", ["corpus-2024.txt", "news.jsonl", "news.parquet"])
def test_one_file_without_languages_is_that_of_the_one_that_is_named(tmp_path, corpus, name):
    path = write_text(tmp_path / name, ["One"])
    assert kept(corpus, path)[0] == ["One"], "the corpus has one language"
    assert kept(corpus, path, "eo", languages=("eo",))[0] == ["One"]
    assert kept(corpus, path, "en", languages=("eo",))[0] == []
    with pytest.raises(
        CorpusError, match=rf"{name}: which language is this\? Name one language in transfer\.languages"
    ):
        kept(corpus, path, languages=("en", "eo"))


def test_one_file_that_is_no_text_by_its_name_is_refused(tmp_path, corpus):
    (tmp_path / "news.csv").touch()
    with pytest.raises(CorpusError, match=r"news\.csv: not raw text by its name\. A file ends with \.txt, "):
        kept(corpus, tmp_path / "news.csv")


@pytest.mark.parametrize(("name", "place"), [("en.jsonl", "en.jsonl:1"), ("en.parquet", "en.parquet")])
def test_a_missing_column_is_named_with_those_there_are(tmp_path, corpus, name, place):
    write_text(tmp_path / "text" / name, ["a"], column="body")
    with pytest.raises(CorpusError, match=rf"{place}: no column 'text' among body\. .*transfer\.text"):
        kept(corpus, tmp_path / "text")
    assert kept(corpus, tmp_path / "text", text="body")[0] == ["a"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ('{"text": 7}', ":2: the words are a number, not a list"),
        ('{"text": ["a", ""]}', ":2: word 2 is empty"),
        ('{"text": ["a\\nb"]}', ":2: word 1, .* has a line end"),
        ('{"text": "a"', ":2:13: not JSON"),
        ('{"text": "\\ud800 a"', ":2:20: not JSON"),
    ],
)
def test_a_broken_record_is_named_with_its_line(tmp_path, record, message):
    (tmp_path / "en.jsonl").write_text('{"text": "fine"}\n' + record + "\n", encoding="utf-8")
    sentences = read_text(tmp_path / "en.jsonl", language="en")
    assert next(sentences).words == ("fine",)
    with pytest.raises(CorpusError, match=rf"en\.jsonl{message}"):
        list(sentences)


def test_half_a_surrogate_pair_in_a_text_becomes_a_replacement_character(tmp_path):
    (tmp_path / "en.jsonl").write_text('{"text": "a\\ud800"}\n', encoding="utf-8")
    assert [s.words for s in read_text(tmp_path / "en.jsonl", language="en")] == [("a\ufffd",)]


def test_a_text_of_a_table_that_is_too_long_is_refused():
    with pytest.raises(CorpusError, match=r"a text of 16,777,217 characters\. Cut texts into 16,777,216"):
        list(sentences_of("\n" * (2**24 + 1), "a:1", "en"))


def test_a_record_without_a_language_is_named(tmp_path, corpus):
    path = tmp_path / "all.jsonl"
    path.write_text('{"text": "a", "language": "en"}\n{"text": "b"}\n', encoding="utf-8")
    with pytest.raises(CorpusError, match=r"all\.jsonl:2: no column 'language'"):
        kept(corpus, path)
    path.write_text('{"text": "a", "language": "en"}\n{"text": "b", "language": null}\n', encoding="utf-8")
    with pytest.raises(CorpusError, match=r"all\.jsonl:2: the language is None"):
        kept(corpus, path)


def test_the_hash_of_a_table_follows_its_column_and_that_of_a_text_does_not(tmp_path, corpus):
    for name, changes in (("en.jsonl", True), ("en.txt", False)):
        folder = write_text(tmp_path / name.replace(".", "-") / name, ["a"]).parent
        one, other = (
            transfer_hash(corpus, TransferSection(path=str(folder), text=column), "en") for column in ("text", "b")
        )
        assert (one != other) == changes


def test_the_limit_counts_sentences_and_nothing_behind_it_is_read(tmp_path, corpus):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "en.jsonl").write_text('{"text": "a\\nb\\nc"}\n{"text": "d"}\nbroken\n', encoding="utf-8")
    assert kept(corpus, tmp_path / "text", sentences=4)[0] == ["a", "b", "c", "d"]


def test_memory_does_not_grow_with_a_table(tmp_path):
    peaks = []
    for n_rows in (80_000, 320_000):
        path = write_table_of_numbers(tmp_path / f"{n_rows}.parquet", n_rows)
        before = pyarrow.total_allocated_bytes()
        batches = parquet_batches(path, ("text",))
        sizes = [(batch.num_rows, pyarrow.total_allocated_bytes() - before) for batch in batches]
        assert sum(rows for rows, _ in sizes) == n_rows
        peaks.append(max(size for _, size in sizes))
    assert peaks[1] < 1.2 * peaks[0]


def write_table_of_numbers(path, n_rows):
    table = pyarrow.table({"text": [f"{number:x} and some words" for number in range(n_rows)]})
    pyarrow.parquet.write_table(table, path, row_group_size=n_rows)
    return path
