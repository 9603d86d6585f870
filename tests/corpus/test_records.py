"""Labelled `.jsonl` and `.parquet` files of a folder."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import json
import lzma

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hub_mirror import WIKIANN_NAMES, write_table

from xtremedistil_ner.corpus.folder import find_split, languages_of, read_split
from xtremedistil_ner.corpus.raw_text import languages_in, read_text
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.tagging.documents import read_documents

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), min_size=1, max_size=6)
SENTENCE = st.lists(st.tuples(WORDS, st.sampled_from(["O", "B-PER", "B-LOC"])), min_size=1, max_size=5)
SENTENCES = st.lists(SENTENCE, min_size=1, max_size=5)
PACKERS = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def content(split):
    return [list(zip(sentence.words, sentence.tags, strict=True)) for sentence in split.sentences]


def jsonl(tmp_path, *records, language="en", name="train.jsonl"):
    """Read a file of records; text stands for itself."""
    lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
    (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_split(tmp_path / name, language=language)


def parquet(tmp_path, columns, language="en"):
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")
    return read_split(tmp_path / "train.parquet", language=language)


def problems(tmp_path, *records):
    with pytest.raises(CorpusError) as caught:
        jsonl(tmp_path, *records)
    return [line.removeprefix(f"{tmp_path}/train.jsonl:") for line in str(caught.value).splitlines()]


@settings(max_examples=40, deadline=None)
@given(SENTENCES, st.booleans())
def test_what_is_written_is_read_back(tmp_path_factory, sentences, ascii_only):
    folder = tmp_path_factory.mktemp("corpus")
    words = [[word for word, _ in sentence] for sentence in sentences]
    tags = [[tag for _, tag in sentence] for sentence in sentences]
    records = (json.dumps({"words": w, "tags": t}, ensure_ascii=ascii_only) for w, t in zip(words, tags, strict=True))
    assert content(jsonl(folder, *records)) == sentences
    assert content(parquet(folder, {"words": words, "tags": tags})) == sentences


@pytest.mark.parametrize(("words", "tags"), [("words", "tags"), ("tokens", "ner_tags"), ("tokens", "tags")])
def test_either_name_of_a_column_will_do_and_others_are_left_alone(tmp_path, words, tags):
    record = {"id": 7, words: ["Ada"], tags: ["B-PER"], "langs": ["en"]}
    assert content(jsonl(tmp_path, record)) == [[("Ada", "B-PER")]]
    assert content(parquet(tmp_path, {name: [value] for name, value in record.items()})) == [[("Ada", "B-PER")]]


def test_a_sentences_id_is_its_file_and_line_or_row(tmp_path):
    record = {"words": ["a"], "tags": ["O"]}
    assert [s.id for s in jsonl(tmp_path, record, "", record).sentences] == ["train.jsonl:1", "train.jsonl:3"]
    rows = {"words": [["a"]] * 3000, "tags": [["O"]] * 3000}
    assert [s.id for s in parquet(tmp_path, rows).sentences][2999] == "train.parquet:2999"


def test_sentences_without_words_are_skipped_and_counted(tmp_path):
    records = [{"words": [], "tags": []}, {"words": ["a"], "tags": ["O"]}]
    split = jsonl(tmp_path, *records)
    assert (content(split), split.skipped_lines) == ([[("a", "O")]], 1)


def test_tags_become_iob2_and_panx_prefixes_go(tmp_path):
    split = jsonl(tmp_path, {"words": ["xx:Ada", "xx:B"], "tags": ["B-PER", "E-PER"]}, language="xx")
    assert (content(split), split.tag_format) == ([[("Ada", "B-PER"), ("B", "I-PER")]], "BIOES")


@pytest.mark.parametrize("packed", PACKERS)
def test_lines_of_objects_may_be_compressed(tmp_path, packed):
    (tmp_path / "xx").mkdir()
    path = tmp_path / "xx" / f"dev.jsonl{packed}"
    path.write_bytes(PACKERS[packed](b'{"words": ["Ada"], "tags": ["B-PER"]}\n'))
    assert languages_of(tmp_path) == ("xx",)
    assert find_split(tmp_path, "xx", "dev") == path
    assert content(read_split(path, language="xx")) == [[("Ada", "B-PER")]]


def test_every_problem_of_a_file_is_reported_with_its_line_and_remedy(tmp_path):
    found = problems(
        tmp_path,
        {"words": ["a"], "tags": ["O"]},
        '{"words": ["a"], "tags": ["O"]',
        ["a"],
        {"tags": ["O"]},
        {"words": ["a"], "tokens": ["a"], "tags": ["O"]},
        {"words": "a b", "tags": ["O"]},
        {"words": ["a", ""], "tags": ["O", "O"]},
        {"words": ["a", 7], "tags": ["O", "O"]},
        {"words": ["a b", "c\nd"], "tags": ["O", "O"]},
        {"words": ["a", "b"], "tags": ["O"]},
        {"words": ["a"], "tags": ["PER"]},
        {"words": ["a"], "tags": [1]},
        {"words": ["a"], "tags": None},
        {"words": ["\ud800"], "tags": ["O"]},
    )
    assert [problem.split(". ")[0] for problem in found] == [
        "2:31: not JSON (Expecting ',' delimiter)",
        "3:1: no JSON object",
        "4: there is neither words nor tokens among tags",
        "5: there is both words and tokens among words, tokens, tags",
        "6: the words are a text, not a list",
        "7: word 2 is empty",
        "8: word 2 is a number, not a text",
        r"9: word 2, 'c\nd', has a line end",
        "10: 2 words but 1 tags",
        "11: 'PER' is no tag",
        "12: tag 1 is a number without a name",
        "13: the tags are missing, not a list",
        "14: a word has half a surrogate pair, which UTF-8 cannot have",
    ]
    assert all(problem.count(". ") for problem in found), "each says what to do"


def test_invalid_utf_8_is_reported_with_line_and_column(tmp_path):
    (tmp_path / "train.jsonl").write_bytes(b'{"words": ["a"], "tags": ["O"]}\n{"words": ["\xff"], "tags": ["O"]}\n')
    with pytest.raises(CorpusError, match=r"train\.jsonl:2:13: byte 0xff is not UTF-8"):
        read_split(tmp_path / "train.jsonl", language="en")


def test_only_the_first_twenty_problems_are_reported(tmp_path):
    assert len(problems(tmp_path, *["{"] * 500)) == 20


NO_JSON = {
    '"n": ' + "9" * 5000: "1: a number has thousands of digits",
    '"n": 1e400': "1: the number '1e400' is too large",
    '"n": -1' + "0" * 400 + ".0": "1: the number '-1000",
    '"n": NaN': "1: NaN is no number in JSON",
    '"n": -Infinity': "1: -Infinity is no number in JSON",
    '"n": ' + "[" * 101 + "]" * 101: "1: nested too deeply",
    '"n": 1, "n": 2': "1: the key 'n' occurs twice",
    '"n": {"x": 1, "x": 1}': "1: the key 'x' occurs twice",
    '"n": 01': "1:",
    '"n": "\t"': "1:",
}


@pytest.mark.parametrize("part", NO_JSON)
def test_what_only_some_readers_of_json_take_is_refused_in_every_file(tmp_path, part):
    line = f'{{"words": ["a"], "tags": ["O"], "text": "a", "language": "en", {part}}}'
    (found,) = problems(tmp_path, line)
    assert found.startswith(NO_JSON[part])
    assert len(found) < 500
    path = tmp_path / "train.jsonl"
    for reader in (lambda: list(read_text(path, language="en")), lambda: languages_in(path)):
        with pytest.raises(CorpusError) as caught:
            reader()
        assert str(caught.value) == f"{path}:{found}"
    with pytest.raises(CorpusError) as caught:
        list(read_documents([path]))
    assert str(caught.value) == f"{path}:{found}"


def test_what_other_keys_have_is_left_alone(tmp_path):
    line = '{"words": ["a"], "tags": ["O"], "n": %s, "s": "\\ud800\\u0000", "f": 1.5e308}'
    assert content(jsonl(tmp_path, line % ("9" * 4000))) == [[("a", "O")]]


@pytest.mark.parametrize("value", [None, True, 5, 1.5, "x", "", [], [None], [[]], {}, {"a": 1}, ["a", 5], "\ud800"])
def test_no_value_of_any_key_is_a_crash(tmp_path, value):
    for key in ("words", "tokens", "tags", "ner_tags", "text", "language", "label", "spans", "answer", "data"):
        record = {"words": ["a"], "tags": ["O"]} | {key: value}
        for some in (record, {"text": "a", key: value}):
            with contextlib.suppress(CorpusError):
                jsonl(tmp_path, some)
            for reader in (
                lambda: list(read_text(tmp_path / "train.jsonl", language="en", mixed=True)),
                lambda: languages_in(tmp_path / "train.jsonl"),
                lambda: list(read_documents([tmp_path / "train.jsonl"])),
            ):
                with contextlib.suppress(CorpusError):
                    reader()


def test_deep_nesting_is_a_problem_of_its_line(tmp_path):
    assert problems(tmp_path, "[" * 100_000)[0].startswith("1: nested too deeply")


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_a_file_without_a_sentence_is_an_error(tmp_path, text):
    assert problems(tmp_path, text) == ["1:1: no sentence in this file. Remove it or fill it."]


def test_problems_of_a_table_have_their_row(tmp_path):
    rows = {"tokens": [["a"], ["a", None], None, ["b"]], "ner_tags": [["O"], ["O", "O"], ["O"], ["B"]]}
    with pytest.raises(CorpusError) as caught:
        parquet(tmp_path, rows)
    assert [
        line.removeprefix(f"{tmp_path}/train.parquet, ").split(". ")[0] for line in str(caught.value).splitlines()
    ] == [
        "row 1: word 2 is missing, not a text",
        "row 2: the words are missing, not a list",
        "row 3: 'B' is no tag",
    ]


def test_a_table_without_the_columns_or_without_a_row_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"train\.parquet: there is neither tags nor ner_tags among words, id"):
        parquet(tmp_path, {"words": [["a"]], "id": [1]})
    empty = pyarrow.array([], pyarrow.list_(pyarrow.string()))
    with pytest.raises(CorpusError, match=r"train\.parquet: no sentence in this file"):
        parquet(tmp_path, {"words": empty, "tags": empty})


def test_numbered_tags_are_read_by_the_names_in_the_file_or_refused(tmp_path):
    names = ("I-LOC", *WIKIANN_NAMES[:-1])
    sentence = (["Ada", "B", "in", "Rome"], ["B-PER", "I-PER", "O", "B-LOC"])
    write_table(tmp_path / "train.parquet", [sentence], names=names, embed=True)
    assert content(read_split(tmp_path / "train.parquet", language="en")) == [list(zip(*sentence, strict=True))]
    write_table(tmp_path / "dev.parquet", [sentence], names=names)
    with pytest.raises(CorpusError, match=r"dev\.parquet: column ner_tags has numbers, .*corpus\.hub"):
        read_split(tmp_path / "dev.parquet", language="en")


@pytest.mark.parametrize("damage", [lambda data: data[:-40], lambda data: b"no table at all", lambda data: b""])
def test_a_damaged_table_is_named(tmp_path, damage):
    parquet(tmp_path, {"words": [["a"]], "tags": [["O"]]})
    path = tmp_path / "train.parquet"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorpusError, match=r"train\.parquet: damaged or no parquet file"):
        read_split(path, language="en")


def test_a_table_whose_pages_are_damaged_is_named(tmp_path):
    words = [[f"{number:x}" * 9] for number in range(4000)]
    parquet(tmp_path, {"words": words, "tags": [["O"]] * 4000})
    path = tmp_path / "train.parquet"
    data = bytearray(path.read_bytes())
    data[100:4000] = bytes(3900)
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=r"train\.parquet: damaged or no parquet file"):
        read_split(path, language="en")


def test_two_formats_of_one_split_are_refused(tmp_path):
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "dev.jsonl.zst").touch()
    (tmp_path / "en" / "dev.parquet").touch()
    with pytest.raises(CorpusError, match=r"dev\.jsonl\.zst: dev\.parquet is also the dev split of en"):
        find_split(tmp_path, "en", "dev")
