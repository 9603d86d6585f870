"""A folder of labelled text, `<lang>/{train,dev,test}.tsv`, and of raw text, `<lang>.txt`, in any of their formats.

A labelled file has columns, or records in `.jsonl` or `.json`; raw text is `.txt` or `.jsonl`; all of these may be
compressed, and both may be `.parquet` instead. A split may also be a `.spacy` file or a folder of brat. Labelled files
are read as a whole; raw text is streamed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from xtremedistil_ner.corpus.annotation_files import ANNOTATION, TEXT, brat_hash, is_brat_folder, read_brat, read_spacy
from xtremedistil_ner.corpus.columns import COLUMN_ENDINGS, read_columns
from xtremedistil_ner.corpus.hashes import file_hash
from xtremedistil_ner.corpus.layout import SHOWN_BY_FILE, ColumnNumbers
from xtremedistil_ner.corpus.raw_text import is_table, languages_in, read_text
from xtremedistil_ner.corpus.reader import CorpusReader, TextReader
from xtremedistil_ner.corpus.records import read_json, read_jsonl, read_parquet
from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.corpus.split import SPLITS, LabelledSplit
from xtremedistil_ner.corpus.streams import COMPRESSIONS
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.names import admit_language, require_distinct

_READERS = {".parquet": read_parquet, ".jsonl": read_jsonl, ".json": read_json, ".spacy": read_spacy}
_SPLIT_ENDINGS = (*COLUMN_ENDINGS, ".txt", *_READERS)
_SPLIT_OF = {"train": "train", "test": "test", "testb": "test"} | dict.fromkeys(
    ("dev", "validation", "valid", "val", "testa"), "dev"
)
_NO_LANGUAGE = re.compile("(?:[A-Z]{4,}|(?i:readme|licen[cs]e|changelog))(?![A-Za-z0-9])")
"""Beginnings of file names such as README.txt and LICENSE-data.txt, which stand beside text and are none."""
TEXT_ENDINGS = (*(f"{ending}{packed}" for ending in (".txt", ".jsonl") for packed in COMPRESSIONS), ".parquet")


def languages_of(path: Path) -> tuple[str, ...]:
    """Languages of a corpus folder, sorted: its folders with at least one split.

    Raises: CorpusError if `path` is not a folder, and for folders whose names are no codes or differ in case alone.
    """
    if not path.is_dir():
        raise CorpusError(f"{path}: no such folder. Give a folder with one folder per language.")
    folders = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    languages = [name for name in folders if any(_files_of(path, name, split) for split in SPLITS)]
    return _admit_languages(languages, path)


def find_split(path: Path, language: str, split: str) -> Path | None:
    """Find the file of a split, or its folder of brat, under any of its names and endings; None if there is none.

    Raises: CorpusError if there are two.
    """
    return _only(_files_of(path, language, split), f"{split} split of {language}")


def split_of(file_name: str) -> str | None:
    """The split that a file name such as `validation.conll.gz`, `train` or `eng.testa` tells; None if it tells none."""
    if file_name.startswith("."):
        return None
    path = _uncompressed(Path(file_name))
    name = path.stem if path.suffix in _SPLIT_ENDINGS else path.name
    return _SPLIT_OF.get(name.rpartition(".")[2])


def find_text(path: Path, language: str) -> Path | None:
    """Find the raw text of a language, in any format and compression; None if there is none.

    Raises: CorpusError if there are two.
    """
    files = (path / f"{language}{ending}" for ending in TEXT_ENDINGS)
    return _only([file for file in files if is_text_file(file.name) and file.is_file()], f"text of {language}")


def text_languages(path: Path) -> tuple[str, ...]:
    """Languages in which a folder has raw text, sorted.

    Raises: CorpusError for files whose names are no codes or differ in case alone.
    """
    names = [entry.name for entry in path.iterdir() if entry.is_file() and is_text_file(entry.name)]
    codes = {name.removesuffix(end) for name in names for end in TEXT_ENDINGS if name.endswith(end)}
    return _admit_languages(sorted(codes), path)


def is_split_file(name: str) -> bool:
    """Whether a corpus folder's file of this relative path is a labelled split."""
    language, _, file = name.partition("/")
    folder, _, rest = file.partition("/")
    is_of_brat = "/" not in rest and rest[:1] != "." and rest.endswith((ANNOTATION, TEXT))
    return language[:1] not in ("", ".") and split_of(folder) is not None and (not rest or is_of_brat)


def is_text_file(name: str) -> bool:
    """Whether a text folder's file of this relative path is the raw text of a language."""
    return "/" not in name and name.endswith(TEXT_ENDINGS) and name[0] != "." and not _NO_LANGUAGE.match(name)


def read_split(path: Path, *, language: str, columns: ColumnNumbers = SHOWN_BY_FILE) -> LabelledSplit:
    """Read one labelled file; `columns` names the columns of words and tags in a column file.

    If all words have the prefix `<language>:`, as in PAN-X, it is removed.

    Raises: CorpusError with the first problems of the file, each with its line or row.
    """
    if path.is_dir():
        return read_brat(path, language=language)
    reader = _READERS.get(_uncompressed(path).suffix)
    return reader(path, language=language) if reader else read_columns(path, language=language, columns=columns)


def folder_reader(
    path: Path, *, name: str, columns: ColumnNumbers = SHOWN_BY_FILE, synthetic: bool = False
) -> CorpusReader:
    """The labelled text of a folder; `name` is its path in the recipe.

    Raises: CorpusError if there is none.
    """
    languages = languages_of(path)
    if not languages:
        raise CorpusError(f"{name}: no labelled text. Put files such as en/train.tsv there.")

    def has(language: str, split: str) -> bool:
        return find_split(path, language, split) is not None

    def read(language: str, split: str) -> LabelledSplit | None:
        file = find_split(path, language, split)
        return read_split(file, language=language, columns=columns) if file else None

    def hash_split(language: str, split: str) -> str | None:
        file = find_split(path, language, split)
        return _labelled_hash(file, columns) if file else None

    return CorpusReader(name, {"path": name}, languages, has, read, hash_split, synthetic)


def folder_texts(path: Path, *, column: str) -> TextReader:
    """The raw text of a folder with one file per language; in tables, `column` has the text."""

    def read(language: str) -> Iterator[Sentence]:
        file = find_text(path, language)
        return read_text(file, language=language, column=column) if file else iter(())

    def hash_text(language: str) -> str | None:
        file = find_text(path, language)
        return _text_hash(file, column) if file else None

    return TextReader(lambda: text_languages(path), read, hash_text, lambda language: next(read(language), None))


def file_texts(path: Path, *, column: str, named: tuple[str, ...]) -> TextReader:
    """The raw text of one file, in the languages of its column `language`, or in the one language that is `named`.

    Raises: CorpusError if the file does not tell its languages and the recipe does not name exactly one.
    """
    in_file = languages_in(path)
    if in_file is None and len(named) != 1:
        raise CorpusError(
            f"{path}: which language is this? Name one language in transfer.languages, give the records of a .jsonl "
            "or .parquet a column language, or put one file per language into a folder."
        )
    languages = named if in_file is None else in_file

    def read(language: str) -> Iterator[Sentence]:
        if language not in languages:
            return iter(())
        return read_text(path, language=language, column=column, mixed=in_file is not None)

    def hash_text(language: str) -> str | None:
        return _text_hash(path, column) if language in languages else None

    def check_first(language: str) -> None:
        next(read_text(path, language=language, column=column), None)  # of any language: its own may come late

    return TextReader(lambda: languages, read, hash_text, check_first)


def _admit_languages(codes: Iterable[str], path: Path) -> tuple[str, ...]:
    languages = tuple(admit_language(code, path) for code in codes)
    require_distinct(languages, path)
    return languages


def _labelled_hash(path: Path, columns: ColumnNumbers) -> str:
    """SHA-256 of what decides the sentences of a file: its bytes, and its columns if the recipe names them."""
    if path.is_dir():
        return brat_hash(path)
    is_named = columns != SHOWN_BY_FILE and _uncompressed(path).suffix not in _READERS
    return _hash_of(path, columns) if is_named else file_hash(path)


def _text_hash(path: Path, column: str) -> str:
    """SHA-256 of what decides the sentences of a file: its bytes, and for a table also the column."""
    return _hash_of(path, column) if is_table(path) else file_hash(path)


def _hash_of(path: Path, columns: object) -> str:
    return hashlib.sha256(f"{file_hash(path)} {columns}".encode()).hexdigest()


def _files_of(path: Path, language: str, split: str) -> list[Path]:
    folder = path / language
    if not folder.is_dir():
        return []
    named = (file for file in folder.iterdir() if split_of(file.name) == split)
    return sorted(file for file in named if file.suffix or file.is_file() or is_brat_folder(file))


def _uncompressed(path: Path) -> Path:
    """A path without the ending of its compression, so that its suffix tells the format of the file."""
    return path.with_suffix("") if path.suffix in COMPRESSIONS[1:] else path


def _only(files: list[Path], role: str) -> Path | None:
    if len(files) > 1:
        others = ", ".join(file.name for file in files[1:])
        raise CorpusError(f"{files[0]}: {others} is also the {role}. Keep one of them.")
    if files and files[0].exists() and not (files[0].is_file() or is_brat_folder(files[0])):
        actual = "folder" if files[0].is_dir() else "pipe or device"
        raise CorpusError(f"{files[0]}: a {actual} where a file belongs. Write one file.")
    return files[0] if files else None
