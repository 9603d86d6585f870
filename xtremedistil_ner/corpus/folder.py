"""A folder of labelled text, `<lang>/{train,dev,test}.tsv`, and of raw text, `<lang>.txt`, in any of their formats.

A labelled file has columns, or records in `.jsonl` or `.json`; raw text is `.txt` or `.jsonl`; all may be compressed,
and either may be `.parquet`. A split may also be a `.spacy` or a folder of brat. Labelled files are read as a whole,
raw text is streamed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
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
from xtremedistil_ner.names import admit_language

_READERS = {".parquet": read_parquet, ".jsonl": read_jsonl, ".json": read_json, ".spacy": read_spacy}
_SPLIT_ENDINGS = (*COLUMN_ENDINGS, ".txt", *_READERS)
_SPLIT_OF = {"train": "train", "test": "test", "testb": "test"} | dict.fromkeys(
    ("dev", "validation", "valid", "val", "testa"), "dev"
)
TEXT_ENDINGS = (*(f"{kind}{packed}" for kind in (".txt", ".jsonl") for packed in COMPRESSIONS), ".parquet")


def languages_of(path: Path) -> tuple[str, ...]:
    """Languages of a corpus folder, sorted: its folders with at least one split.

    Raises: CorpusError if `path` is no folder.
    """
    if not path.is_dir():
        raise CorpusError(f"{path}: no such folder. Give a folder with one folder per language.")
    folders = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    found = [name for name in folders if any(_files_of(path, name, split) for split in SPLITS)]
    return tuple(admit_language(name, path) for name in found)


def find_split(path: Path, language: str, split: str) -> Path | None:
    """Find the file of a split, or its folder of brat's, whatever its name, format and compression; None without one.

    Raises: CorpusError if there are two.
    """
    return _only(_files_of(path, language, split), f"{split} split of {language}")


def split_of(file_name: str) -> str | None:
    """The split of a labelled file by its name, such as `validation.conll.gz`, `train` or `eng.testa`; else None."""
    path = Path(file_name)
    name = path.stem if path.suffix in COMPRESSIONS[1:] and path.stem else file_name
    stem = Path(name)
    bare = stem.stem if stem.suffix in _SPLIT_ENDINGS else name
    return _SPLIT_OF.get(bare.rpartition(".")[2])


def find_text(path: Path, language: str) -> Path | None:
    """Find the raw text of a language, whatever its format and compression; None if there is none.

    Raises: CorpusError if there are two.
    """
    files = (path / f"{language}{ending}" for ending in TEXT_ENDINGS)
    return _only([file for file in files if file.is_file()], f"text of {language}")


def text_languages(path: Path) -> tuple[str, ...]:
    """Languages of which a folder has raw text, sorted."""
    names = [entry.name for entry in path.iterdir() if entry.is_file() and is_text_file(entry.name)]
    codes = {name.removesuffix(end) for name in names for end in TEXT_ENDINGS if name.endswith(end)}
    return tuple(admit_language(code, path) for code in sorted(codes))


def is_split_file(name: str) -> bool:
    """Whether a corpus folder's file of this relative path is a labelled split."""
    language, _, file = name.partition("/")
    folder, _, rest = file.partition("/")
    is_brats = "/" not in rest and rest.endswith((ANNOTATION, TEXT))
    return language[:1] not in ("", ".") and split_of(folder) is not None and (not rest or is_brats)


def is_text_file(name: str) -> bool:
    """Whether a text folder's file of this relative path is the raw text of a language."""
    return "/" not in name and not name.startswith(".") and name.endswith(TEXT_ENDINGS)


def read_split(path: Path, *, language: str, columns: ColumnNumbers = SHOWN_BY_FILE) -> LabelledSplit:
    """Read one labelled file; `columns` says where the words and tags of a column file are.

    Words with the prefix `<language>:` throughout, as PAN-X has them, lose it.

    Raises: CorpusError with the first problems of the file, each with its line or row.
    """
    if path.is_dir():
        return read_brat(path, language=language)
    reader = _READERS.get(_ending(path))
    return reader(path, language=language) if reader else read_columns(path, language=language, columns=columns)


def folder_reader(
    path: Path, *, name: str, columns: ColumnNumbers = SHOWN_BY_FILE, synthetic: bool = False
) -> CorpusReader:
    """The labelled text of a folder; `name` is what the recipe calls it.

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
    """The raw text of a folder with one file per language; `column` has the text of tables."""

    def read(language: str) -> Iterator[Sentence]:
        file = find_text(path, language)
        return read_text(file, language=language, column=column) if file else iter(())

    def hash_text(language: str) -> str | None:
        file = find_text(path, language)
        return _text_hash(file, column) if file else None

    return TextReader(lambda: text_languages(path), read, hash_text)


def file_texts(path: Path, *, column: str, named: tuple[str, ...]) -> TextReader:
    """The raw text of one file: of the languages of its column `language`, or of the one language that is `named`.

    Raises: CorpusError if the file does not tell its language and the recipe does not name just one.
    """
    found = languages_in(path)
    if found is None and len(named) != 1:
        raise CorpusError(
            f"{path}: which language is this? Name one language in transfer.languages, give the records of a .jsonl "
            "or .parquet a column language, or put one file per language into a folder."
        )
    languages = named if found is None else found

    def read(language: str) -> Iterator[Sentence]:
        if language not in languages:
            return iter(())
        return read_text(path, language=language, column=column, mixed=found is not None)

    def hash_text(language: str) -> str | None:
        return _text_hash(path, column) if language in languages else None

    return TextReader(lambda: languages, read, hash_text)


def _labelled_hash(path: Path, columns: ColumnNumbers) -> str:
    """SHA-256 of what decides the sentences of a file: its bytes, and its columns where the recipe names them."""
    if path.is_dir():
        return brat_hash(path)
    if columns == SHOWN_BY_FILE or _ending(path) in _READERS:
        return file_hash(path)
    return hashlib.sha256(f"{file_hash(path)} {columns}".encode()).hexdigest()


def _files_of(path: Path, language: str, split: str) -> list[Path]:
    folder = path / language
    if not folder.is_dir():
        return []
    named = (file for file in folder.iterdir() if split_of(file.name) == split)
    return sorted(file for file in named if file.suffix or file.is_file() or is_brat_folder(file))


def _ending(path: Path) -> str:
    """The ending that tells a file's format, without that of its compression."""
    return Path(path.stem).suffix if path.suffix in COMPRESSIONS[1:] else path.suffix


def _text_hash(path: Path, column: str) -> str:
    """SHA-256 of what decides the sentences of a file: its bytes, and for a table the column too."""
    if not is_table(path):
        return file_hash(path)
    return hashlib.sha256(f"{file_hash(path)} {column}".encode()).hexdigest()


def _only(found: list[Path], what: str) -> Path | None:
    if len(found) > 1:
        others = ", ".join(file.name for file in found[1:])
        raise CorpusError(f"{found[0]}: {others} stands beside it and is the {what} as well. Keep one of them.")
    if found and found[0].exists() and not (found[0].is_file() or is_brat_folder(found[0])):
        kind = "folder" if found[0].is_dir() else "pipe or device"
        raise CorpusError(f"{found[0]}: a {kind} where a file belongs. Write one file.")
    return found[0] if found else None
