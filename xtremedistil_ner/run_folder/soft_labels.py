"""The soft-label store: a teacher's untempered logits of every word of the transfer set, computed once.

A store is a folder of shards, each published whole with the sha256 of its files, and a manifest that is written
last. A shard holds flat `.npy` arrays with offsets, memory-mapped when read: 2 bytes a tag and word, random access,
and memory that does not grow with the transfer set. A shard's name and fingerprint depend only on its sentences and on
the teacher, so a new language adds shards and a restart continues at the first shard that is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtremedistil_ner.errors import ArtefactError, StoreError, quoted
from xtremedistil_ner.names import is_inside
from xtremedistil_ner.run_folder.artefacts import publish, published_fingerprint, verify
from xtremedistil_ner.run_folder.files import MANIFEST
from xtremedistil_ner.run_folder.whole_files import read_json, sha256_file, write_json

SHARD_PATTERN = r".+-\d{5}"
"""Names of shards, as `shard_name` makes them."""
_WORD_BORDER = "\n"


@dataclass(frozen=True, slots=True)
class LanguageCounts:
    """What became of a language's transfer text. Units: sentences, except for `words` and `lost_words`."""

    read: int
    duplicates: int
    held_out: int
    kept: int
    words: int
    lost_words: int


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard, opened.

    Shapes: text (bytes,) uint8 with text_offsets (sentences + 1,) int64; word_offsets (sentences + 1,) int64;
    logits (words, tags) float16; covered (words,) bool, false for words to which the teacher gave no piece.
    """

    language: str
    text: NDArray[np.uint8]
    text_offsets: NDArray[np.int64]
    word_offsets: NDArray[np.int64]
    logits: NDArray[np.float16]
    covered: NDArray[np.bool_]

    @property
    def n_sentences(self) -> int:
        """Number of sentences."""
        return len(self.text_offsets) - 1

    def words(self, index: int) -> list[str]:
        """The words of one sentence."""
        start, stop = self.text_offsets[index], self.text_offsets[index + 1]
        return self.text[start:stop].tobytes().decode("utf-8").split(_WORD_BORDER)


class SoftLabelStore:
    """A store, opened for reading. Sentences and words are numbered across all shards, in the manifest's order."""

    def __init__(self, manifest: Mapping[str, Any], shards: Sequence[Shard]) -> None:
        self._manifest = manifest
        self.fingerprint = str(manifest["fingerprint"])
        self.tags: tuple[str, ...] = tuple(manifest["tags"])
        self.counts = {language: LanguageCounts(**counts) for language, counts in manifest["languages"].items()}
        self.shards = tuple(shards)
        self._first_word = np.cumsum([0, *(len(shard.logits) for shard in shards)], dtype=np.int64)
        self._first_sentence = np.cumsum([0, *(shard.n_sentences for shard in shards)], dtype=np.int64)

    def of_language(self, language: str) -> SoftLabelStore:
        """The shards of one language, as a store of their own."""
        return SoftLabelStore(self._manifest, [shard for shard in self.shards if shard.language == language])

    @property
    def n_sentences(self) -> int:
        """Number of sentences."""
        return sum(shard.n_sentences for shard in self.shards)

    @property
    def sentence_languages(self) -> NDArray[np.str_]:
        """The language of every sentence. Shapes: (sentences,)."""
        return np.repeat([shard.language for shard in self.shards], [shard.n_sentences for shard in self.shards])

    @property
    def n_words(self) -> int:
        """Number of words."""
        return int(self._first_word[-1])

    def sentences(self) -> Iterator[list[list[str]]]:
        """The words of all sentences in order, a chunk of sentences at a time."""
        for shard in self.shards:
            for start in range(0, shard.n_sentences, 4096):
                yield [shard.words(index) for index in range(start, min(start + 4096, shard.n_sentences))]

    def words_of(
        self, sentences: NDArray[np.integer[Any]], first: NDArray[np.integer[Any]], counts: NDArray[np.int64]
    ) -> list[list[str]]:
        """Runs of words of some sentences: `count` words from word `first` on. Shapes: all (n,)."""
        numbers = np.searchsorted(self._first_sentence, sentences, side="right") - 1
        return [
            self.shards[number].words(sentence - self._first_sentence[number])[start : start + count]
            for number, sentence, start, count in zip(
                numbers.tolist(), sentences.tolist(), first.tolist(), counts.tolist(), strict=True
            )
        ]

    def logits_at(self, positions: NDArray[np.int64]) -> NDArray[np.float16]:
        """Logits of some words. Shapes: positions (n,); result (n, tags)."""
        logits = np.empty((len(positions), len(self.tags)), dtype=np.float16)
        for number, chosen in self._by_shard(positions):
            logits[chosen] = self.shards[number].logits[positions[chosen] - self._first_word[number]]
        return logits

    def covered_at(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some words the teacher covered. Shapes: positions, result (n,)."""
        covered = np.empty(len(positions), dtype=np.bool_)
        for number, chosen in self._by_shard(positions):
            covered[chosen] = self.shards[number].covered[positions[chosen] - self._first_word[number]]
        return covered

    def _by_shard(self, positions: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        numbers = np.searchsorted(self._first_word, positions, side="right") - 1
        for number in np.flatnonzero(np.bincount(numbers)).tolist():
            yield number, numbers == number


def shard_name(language: str, number: int) -> str:
    """The name of a language's shard of this number."""
    return f"{language}-{number:05d}"


def shard_place(store: Path, name: object) -> Path:
    """The folder of a shard inside the store.

    Raises: StoreError for a name that would be written, or removed, outside the store.
    """
    if not isinstance(name, str) or not is_inside(name) or "/" in name or name.startswith("."):
        raise StoreError(f"{store}: {quoted(name)} is no name of a shard. Remove {store / MANIFEST} and run again.")
    return store / name


def write_shard(
    folder: Path,
    sentences: Sequence[Sequence[str]],
    logits: NDArray[np.float32],
    covered: NDArray[np.bool_],
    *,
    language: str,
    fingerprint: str,
) -> None:
    """Publish one shard. Shapes: logits (words, tags); covered (words,).

    Raises: StoreError for a logit that is not finite or overflows float16.
    """
    with np.errstate(over="ignore"):  # an overflow becomes infinite and is refused below
        rows = logits.astype(np.float16)
    if not np.isfinite(rows).all():
        word = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise StoreError(
            f"{folder}: the teacher's logits of word {word} are not finite in float16: {logits[word]}. "
            "Label with pseudolabel.precision float32, or look at the teacher."
        )
    texts = [_WORD_BORDER.join(words).encode("utf-8") for words in sentences]
    arrays: dict[str, NDArray[Any]] = {
        "text": np.frombuffer(b"".join(texts), dtype=np.uint8),
        "text_offsets": np.cumsum([0, *map(len, texts)], dtype=np.int64),
        "word_offsets": np.cumsum([0, *map(len, sentences)], dtype=np.int64),
        "logits": rows,
        "covered": covered,
    }
    with publish(folder, {"fingerprint": fingerprint, "language": language}) as temporary:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)


def count_lost_words(folder: Path) -> tuple[int, int]:
    """The number of words in a published shard, and of those to which the teacher gave no piece."""
    covered = np.load(folder / "covered.npy", mmap_mode="r", allow_pickle=False)
    return len(covered), int(len(covered) - np.count_nonzero(covered))


def seal_store(
    folder: Path, names: Sequence[str], *, fingerprint: str, tags: Sequence[str], counts: Mapping[str, LanguageCounts]
) -> None:
    """Write the manifest that makes a folder of published shards a store."""
    shards = []
    for name in names:
        path, language = shard_place(folder, name) / MANIFEST, name.rpartition("-")[0]
        shards.append({"name": name, "language": language, "manifest_sha256": sha256_file(path)})
    languages = {language: asdict(count) for language, count in counts.items()}
    value = {"schema": 1, "fingerprint": fingerprint, "tags": list(tags), "languages": languages, "shards": shards}
    write_json(folder / MANIFEST, {**value, "files": {}})


def store_fingerprint(folder: Path) -> str | None:
    """The fingerprint of a sealed store; None if it is missing, or if a file of a shard is missing or cut short.

    Raises: StoreError for a store without shards.
    """
    value = published_fingerprint(folder)
    if value is None:
        return None
    manifest = read_json(folder / MANIFEST)
    _require_shards(folder, manifest)
    try:
        shards = [shard_place(folder, entry["name"]) for entry in manifest["shards"]]
    except (ArtefactError, KeyError, TypeError):
        return None
    return value if all(map(published_fingerprint, shards)) else None


def _require_shards(folder: Path, manifest: Mapping[str, Any]) -> None:
    if manifest.get("shards") == []:
        raise StoreError(
            f"{folder / MANIFEST}: shards is empty, and no run seals such a store. Remove it and run again."
        )


def open_store(folder: Path) -> SoftLabelStore:
    """Open a store after checking every byte of it against its manifest.

    Raises: StoreError that names the shard and file that is missing, truncated or swapped.
    """
    try:
        manifest = read_json(folder / MANIFEST)
        _require_shards(folder, manifest)
        shards = []
        for entry in manifest["shards"]:
            path = shard_place(folder, entry["name"])
            verify(path)
            if sha256_file(path / MANIFEST) != entry["manifest_sha256"]:
                raise ArtefactError(
                    f"{path}: not the shard that the store was sealed with. "
                    "Remove the folder and run the same command again."
                )
            shards.append(_open_shard(path, entry["language"]))
        return SoftLabelStore(manifest, shards)
    except ArtefactError as error:
        raise StoreError(f"{error} Shards that are whole are kept.") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"{folder / MANIFEST}: not the manifest of a store ({error!r}). Remove it and run again."
        ) from error


def _open_shard(path: Path, language: str) -> Shard:
    def load(name: str) -> NDArray[Any]:
        array: NDArray[Any] = np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return array

    shard = Shard(language, load("text"), load("text_offsets"), load("word_offsets"), load("logits"), load("covered"))
    n_words = int(shard.word_offsets[-1])
    if len(shard.logits) != n_words or len(shard.covered) != n_words:
        raise ArtefactError(f"{path}: {n_words} words but {len(shard.logits)} rows of logits. Remove it and run again.")
    return shard
