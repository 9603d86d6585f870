"""Parquet files that no program of ours wrote: read, or refused with the file and the column, never a traceback."""

from __future__ import annotations

import pyarrow
import pyarrow.parquet
import pyarrow.parquet.encryption as encryption
import pytest
from support.hub_mirror import write_table

from xtremedistil_ner.corpus import records
from xtremedistil_ner.corpus.check import check_corpus
from xtremedistil_ner.corpus.folder import read_split
from xtremedistil_ner.corpus.raw_text import languages_in, read_text
from xtremedistil_ner.errors import CorpusError

TEXT = pyarrow.string()
LIST = pyarrow.list_(TEXT)
WORDS, TAGS = [["Ada", "B"], ["Rome"]], [["B-PER", "I-PER"], ["B-LOC"]]


def strings(values, kind=TEXT):
    """Texts of any bytes, as other programs write them."""
    return pyarrow.Array.from_buffers(kind, len(values), pyarrow.array(values, pyarrow.binary()).buffers())


def broken_words():
    return pyarrow.ListArray.from_arrays(pyarrow.array([0, 2, 3]), strings([b"Ada", b"B", b"M\xfcnchen"]))


def broken_tags():
    return pyarrow.ListArray.from_arrays(pyarrow.array([0, 2, 3]), strings([b"B-PER", b"I-\xff", b"O"]))


def array(values, kind=LIST):
    return pyarrow.array(values, kind)


def table(words=None, tags=None, **others):
    return pyarrow.table(
        {"words": array(WORDS) if words is None else words, "tags": array(TAGS) if tags is None else tags, **others}
    )


def write(path, content, **options):
    pyarrow.parquet.write_table(content, path, **options)
    return path


def described(metadata):
    return table().replace_schema_metadata({"huggingface": metadata})


def two_columns():
    return pyarrow.table([array(WORDS), array(WORDS), array(TAGS)], names=["words", "words", "tags"])


REFUSED = {
    "invalid UTF-8 in words": (lambda: table(broken_words()), ", row 1: column 'words' is not UTF-8"),
    "invalid UTF-8 in tags": (lambda: table(tags=broken_tags()), ", row 0: column 'tags' is not UTF-8"),
    "two columns of one name": (two_columns, ": two columns are called 'words'"),
    "two columns of one name elsewhere": (
        lambda: pyarrow.table([array(WORDS), array(TAGS), array(TAGS), array(TAGS)], ["words", "tags", "x", "x"]),
        ": two columns are called 'x'",
    ),
    "metadata that ends early": (lambda: described(b"{"), ": column 'tags': the metadata `huggingface`"),
    "metadata that is no text": (lambda: described(b"\xff"), ": column 'tags': the metadata `huggingface`"),
    "metadata of an unknown type": (
        lambda: described(b'{"info": {"features": {"tags": {"_type": "Nonsense"}}}}'),
        ": column 'tags': the metadata `huggingface`",
    ),
    "no row": (lambda: table().slice(0, 0), ": no sentence in this file"),
    "columns of nulls": (lambda: table(pyarrow.nulls(2), pyarrow.nulls(2)), ", row 0: the words are missing"),
    "words of bytes": (
        lambda: table(array([[b"a", b"b"], [b"c"]], pyarrow.list_(pyarrow.binary()))),
        ", row 0: word 1 is bytes",
    ),
    "lists in lists": (
        lambda: table(array([[["a"], ["b"]], [["c"]]], pyarrow.list_(LIST))),
        ", row 0: word 1 is a list",
    ),
    "words as one text": (lambda: table(array(["Ada B", "Rome"], TEXT)), ", row 0: the words are a text, not a list"),
    "words in objects": (
        lambda: table(array([{"list": WORDS[0]}, {"list": WORDS[1]}], pyarrow.struct({"list": LIST}))),
        ", row 0: the words are an object",
    ),
    "words in a map": (lambda: table(array([[("a", "b")], []], pyarrow.map_(TEXT, TEXT))), ", row 0: word 1 is tuple"),
    "tags as numbers with a point": (
        lambda: table(tags=array([[0.0, 1.0], [2.0]], pyarrow.list_(pyarrow.float64()))),
        ", row 0: 0.0 is no tag",
    ),
    "dates beyond Python's": (
        lambda: table(tags=array([[2**62, 2**62], [2**62]], pyarrow.list_(pyarrow.timestamp("us")))),
        ", row 0: column 'tags' cannot be read",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_that_cannot_be_read_is_named_with_what_is_wrong(tmp_path, case):
    make, message = REFUSED[case]
    (tmp_path / "en").mkdir()
    path = write(tmp_path / "en" / "train.parquet", make())
    (problem,) = check_corpus(tmp_path).problems
    assert problem.startswith(f"{path}{message}")
    assert len(problem) < 2000


@pytest.mark.parametrize(
    "words",
    [
        lambda: array(WORDS, pyarrow.large_list(pyarrow.large_string())),
        lambda: array(WORDS, pyarrow.list_(pyarrow.dictionary(pyarrow.int8(), TEXT))),
        lambda: array(WORDS, pyarrow.list_(pyarrow.string_view())),
    ],
)
def test_lists_of_text_are_read_whatever_arrow_calls_them(tmp_path, words):
    split = read_split(write(tmp_path / "train.parquet", table(words())), language="en")
    assert [list(sentence.words) for sentence in split.sentences] == WORDS


def test_an_encrypted_table_is_named(tmp_path):
    class Keys(encryption.KmsClient):
        def wrap_key(self, key, name):
            return key

        def unwrap_key(self, key, name):
            return key

    factory = encryption.CryptoFactory(lambda config: Keys())
    config = encryption.EncryptionConfiguration(footer_key="f", column_keys={"c": ["words.list.element"]})
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), config)
    path = write(tmp_path / "train.parquet", table(), encryption_properties=properties)
    with pytest.raises(CorpusError, match=r"train\.parquet: damaged or no parquet file"):
        read_split(path, language="en")


def test_a_table_that_expands_a_thousandfold_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_MOST_EXPANDED_BYTES", 1 << 20)
    path = write(tmp_path / "train.parquet", table(array([["a" * (1 << 21)]]), array([["O"]])), compression="zstd")
    with pytest.raises(CorpusError, match=r"train\.parquet: column 'words\S*' expands from \d+ to \d+ bytes"):
        read_split(path, language="en")


def test_of_a_word_that_a_dictionary_repeats_a_thousand_times_few_are_held(tmp_path):
    path = write(tmp_path / "en.parquet", pyarrow.table({"text": ["x" * 10_000] * 1000}))
    assert path.stat().st_size < 3000
    sizes = [batch.nbytes for batch in records.parquet_batches(path, ["text"])]
    assert sum(sizes) > 10_000_000
    assert max(sizes) < 700_000


def test_a_few_kilobytes_of_a_million_rows_are_refused(tmp_path):
    rows = pyarrow.nulls(2**20 + 1)
    pyarrow.parquet.write_table(pyarrow.table({"words": rows, "tags": rows}), tmp_path / "train.parquet")
    with pytest.raises(CorpusError, match=r"train\.parquet: 1,048,577 rows in [\d,]+ bytes, which text never has"):
        read_split(tmp_path / "train.parquet", language="en")


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    (tmp_path / "en" / "train.parquet").mkdir(parents=True)
    write(tmp_path / "en" / "train.parquet" / "part-0.parquet", table())
    (problem,) = check_corpus(tmp_path).problems
    assert problem.startswith(f"{tmp_path}/en/train.parquet: a folder where a file belongs")


def test_any_cut_and_many_broken_bytes_give_one_message(tmp_path):
    path = write(tmp_path / "train.parquet", table(notes=array(WORDS)))
    whole = path.read_bytes()
    for place in range(0, len(whole), 23):
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        for data in (whole[:place], bytes(changed)):
            path.write_bytes(data)
            try:
                read_split(path, language="en")
            except CorpusError as error:
                assert str(error).startswith(str(path))
                assert len(str(error)) < 2000


def test_raw_text_of_a_broken_table_is_named_with_its_row(tmp_path):
    texts, codes = strings([b"fine", b"M\xfcnchen"]), strings([b"en", b"\xff"])
    path = write(tmp_path / "en.parquet", pyarrow.table({"text": texts, "language": codes}))
    with pytest.raises(CorpusError, match=r"en\.parquet, row 1: column 'text' is not UTF-8"):
        list(read_text(path, language="en"))
    with pytest.raises(CorpusError, match=r"en\.parquet, row 1: column 'language' is not UTF-8"):
        languages_in(path)


def test_files_of_a_dataset_with_other_columns_or_broken_text_are_named(tmp_path):
    from xtremedistil_ner.corpus.hub_reader import hub_reader
    from xtremedistil_ner.recipe.data_sections import HubCorpusSection

    folder = tmp_path / "data" / "en"
    write_table(folder / "train-00000-of-00002.parquet", [(["Ada"], ["B-PER"])], names=None)
    second = folder / "train-00001-of-00002.parquet"
    section = HubCorpusSection(id=str(tmp_path / "data"))
    write(second, pyarrow.table({"other": [1]}))
    with pytest.raises(CorpusError, match=r"row 1: no column 'tokens' in this file"):
        hub_reader(section, ()).read("en", "train")
    write(second, pyarrow.table({"tokens": broken_words(), "ner_tags": array(TAGS)}))
    with pytest.raises(CorpusError, match=r"row 2: column 'tokens' is not UTF-8"):
        hub_reader(section, ()).read("en", "train")
