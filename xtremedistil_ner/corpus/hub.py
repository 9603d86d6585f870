"""A dataset of the Hugging Face Hub: its commit, its configurations, its files on this machine.

`huggingface_hub` downloads the files of the requested configurations into its own cache (`HF_HOME`) once; offline, the
same call finds them there, and they are read in place. `datasets.load_dataset(id)` would not do: offline it finds only
what it prepared itself, it prepares a second copy of everything, and it chooses its reader by the files of the first
configuration, which may not be in the cache. So `datasets` only reads what the repository says about columns, and every
format but parquet, which pyarrow reads as it does for folders. Scripts of a repository are never run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from xtremedistil_ner.corpus.hashes import file_hash, once_per_file
from xtremedistil_ner.corpus.records import feature_names, shown
from xtremedistil_ner.errors import CorpusError, ResourceError, first_line
from xtremedistil_ner.names import LANGUAGE_PATTERN

LANGUAGE = "{language}"
_NO_LANGUAGE = frozenset({"default", "data"})
"""Usual names of the only configuration, and of the only folder, of a repository."""
_CARD = "README.md"
_COMMIT = re.compile("[0-9a-f]{40}")
_SHARD = re.compile(r"(.*)-\d{5}-of-(\d{5})(\..*)")
_YAML_HEAD = re.compile(r"\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", flags=re.DOTALL)


@dataclass(frozen=True, slots=True)
class Card:
    """What a repository's README.md says about its files and columns.

    `files` gives for each configuration the patterns of its files by split, or the folder whose files are named after
    their splits; `class_names` gives the names of class labels, in order, by configuration and column.
    """

    files: Mapping[str, Mapping[str, tuple[str, ...]] | str]
    class_names: Mapping[str, Mapping[str, tuple[str, ...] | None]]

    @property
    def names_every_file(self) -> bool:
        """Whether the files of a configuration are known without a listing of the repository."""
        return bool(self.files) and not any(isinstance(files, str) for files in self.files.values())


@dataclass(frozen=True, slots=True)
class HubDataset:
    """A dataset repository. `commit` is None for a folder that is not a snapshot in the Hub's cache."""

    id: str
    commit: str | None
    folder: Path
    card: Card
    is_remote: bool

    def configs(self) -> tuple[str, ...]:
        """Names of the configurations; where README.md has none, each folder is one, and `default` is everything.

        A local folder has only the configurations whose files it has.
        """
        if self.card.files:
            return tuple(name for name in self.card.files if self.is_remote or self._is_here(name))
        folders = sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir())
        return ("default", *(name for name in folders if not name.startswith(".")))

    def patterns(self, config: str, split: str) -> tuple[str, ...]:
        """Patterns of the files of a split, relative to the repository; none if there is no such split."""
        files = self.card.files.get(config, "" if config == "default" else f"{config}/")
        if not isinstance(files, str):
            return files.get(split, ())
        bases = (files, "data/") if files == "" else (files,)
        patterns = (f"{base}{split}{rest}" for base in bases for rest in ("-*", ".*", "/*"))
        return tuple(pattern for pattern in patterns if _matching(self.folder, [pattern]))

    def location(self, config: str, split: str) -> str:
        """A split as messages call it."""
        return f"{self.id}, config {config}, split {split}"

    def class_names(self, config: str, column: str) -> tuple[str, ...] | None:
        """Names of a column's class labels in README.md, in order; None where it has none."""
        return self.card.class_names.get(config, self.card.class_names.get("default", {})).get(column)

    def identity(self, config: str, split: str) -> list[str]:
        """What decides the rows of a split: the commit, configuration and split, or the bytes of a folder's files."""
        if self.commit is not None:
            return [self.commit, config, split]
        return [file_hash(file) for file in split_files(self, config, split)]

    def _is_here(self, config: str) -> bool:
        files = self.card.files[config]
        if isinstance(files, str):
            return (self.folder / files).is_dir()
        return any(_matching(self.folder, patterns) for patterns in files.values())


def open_dataset(dataset_id: str, revision: str) -> HubDataset:
    """Find a dataset on the Hub, in its cache, or in a folder that `dataset_id` names, and read its README.md.

    Raises: CorpusError if there is no such dataset or revision; ResourceError if the Hub is out of reach.
    """
    folder = Path(dataset_id)
    if folder.is_dir():
        is_snapshot = folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name)
        return HubDataset(dataset_id, folder.name if is_snapshot else None, folder, _card(folder), False)
    folder = _download(dataset_id, revision, (_CARD,))
    card = _card(folder)
    if not card.names_every_file:
        _download(dataset_id, folder.name, None)
    return HubDataset(dataset_id, folder.name, folder, card, True)


def configs_by_language(dataset: HubDataset, template: str, named: Sequence[str], *, option: str) -> dict[str, str]:
    """Configurations of a dataset that match a template, by language, sorted.

    `named` are the recipe's languages: if there is only one, a template without `{language}` is its configuration.
    `option` is the recipe's section, for messages.

    Raises: CorpusError if none matches.
    """
    names = dataset.configs()
    if LANGUAGE not in template:
        if template not in names:
            raise CorpusError(f"{dataset.id}: no configuration {template!r}. There are: {shown(names)}.")
        if len(named) != 1:
            raise CorpusError(
                f"{dataset.id}: {option}.config {template!r} does not tell its language. Name one language, or write "
                f"{LANGUAGE} where the names of the configurations have it. There are: {shown(names)}."
            )
        return {named[0]: template}
    first, *others = (re.escape(part) for part in template.split(LANGUAGE))
    pattern = re.compile(f"{first}({LANGUAGE_PATTERN})" + r"\1".join(others))
    configs = {match[1]: name for name in names if (match := pattern.fullmatch(name)) and match[1] not in _NO_LANGUAGE}
    if not configs:
        raise CorpusError(
            f"{dataset.id}: no configuration fits {option}.config {template!r}. There are: {shown(names)}. "
            f"Name one of them, and its language in languages, or write {LANGUAGE} where the name has the language."
        )
    return dict(sorted(configs.items()))


def fetch_splits(dataset: HubDataset, splits: Iterable[tuple[str, str]]) -> None:
    """Download the files of some (configuration, split) into the cache, in one call.

    Raises: ResourceError if they are not in the cache and cannot be downloaded; CorpusError if a folder lacks them.
    """
    patterns = {pair: dataset.patterns(*pair) for pair in splits}
    if dataset.is_remote and dataset.card.names_every_file and any(patterns.values()):
        _download(dataset.id, dataset.folder.name, tuple(sorted(set().union(*patterns.values()))))
    for (config, split), of_split in patterns.items():
        for pattern in of_split:
            _check_whole(dataset, config, split, pattern)


def split_files(dataset: HubDataset, config: str, split: str) -> list[Path]:
    """Files of a split, in the order of their rows."""
    return _matching(dataset.folder, dataset.patterns(config, split))


@lru_cache(maxsize=256)
def _download(dataset_id: str, revision: str, patterns: tuple[str, ...] | None) -> Path:
    """Download files into the Hub's cache, and return the folder of the commit there; its name is the commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(
            snapshot_download(
                dataset_id,
                repo_type="dataset",
                revision=revision,
                allow_patterns=None if patterns is None else list(patterns),
            )
        )
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise CorpusError(
            f"{dataset_id}: no such folder, and no such dataset on the Hub ({first_line(error)}). Check the id; for a "
            "private one log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise CorpusError(f"{dataset_id}: no revision {revision!r}. Give a branch, a tag or a commit.") from error
    except Exception as error:  # three libraries have a dozen classes for failures of the network
        raise ResourceError(
            f"{dataset_id} at {revision}: not in the Hub's cache, and the Hub cannot be reached "
            f"({first_line(error)}).{_cached_commits(dataset_id)} Run once with network, or fetch it with "
            f"`hf download {dataset_id} --repo-type dataset`. Without network, `xner distil demo` uses the built-in "
            "corpus; for a folder of yours, give corpus.path, or transfer.path for raw text."
        ) from error


def _cached_commits(dataset_id: str) -> str:
    from huggingface_hub import constants

    snapshots = Path(constants.HF_HUB_CACHE, f"datasets--{dataset_id.replace('/', '--')}", "snapshots")
    commits = sorted(entry.name for entry in snapshots.iterdir()) if snapshots.is_dir() else []
    return f" The cache has revision {' and '.join(commits)}." if commits else ""


def _card(folder: Path) -> Card:
    path = folder / _CARD
    return _read_card(path) if path.is_file() else Card({}, {})


@once_per_file
def _read_card(path: Path) -> Card:
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData
    from ruamel.yaml import YAML

    try:
        head = _YAML_HEAD.match(path.read_text(encoding="utf-8-sig"))
        data = (YAML(typ="safe", pure=True).load(head[1]) if head else None) or {}  # YAML 1.2, where `no` is Norwegian
        files = {str(entry["config_name"]): _files_of(entry) for entry in data.get("configs") or ()}
        card = DatasetCardData(dataset_info=data.get("dataset_info"))
        class_names = {
            config: {column: feature_names(feature) for column, feature in (info.features or {}).items()}
            for config, info in DatasetInfosDict.from_dataset_card_data(card).items()
        }
    except Exception as error:  # the YAML may have any form, and the libraries check little of it
        raise CorpusError(f"{path}: cannot be read ({first_line(error)}). Correct its YAML head.") from error
    return Card(files, class_names)


def _files_of(entry: Mapping[str, Any]) -> dict[str, tuple[str, ...]] | str:
    """`data_files` of a configuration by split, or its folder."""
    from datasets.data_files import sanitize_patterns

    base = f"{entry['data_dir'].strip('/')}/" if entry.get("data_dir") else ""
    if entry.get("data_files") is None:
        return base and _admit_pattern(base)
    patterns = sanitize_patterns(entry["data_files"])
    return {split: tuple(_admit_pattern(f"{base}{path}") for path in paths) for split, paths in patterns.items()}


def _admit_pattern(pattern: str) -> str:
    parts = pattern.split("/")
    if pattern.startswith("/") or "://" in pattern or ".." in parts:
        raise CorpusError(f"{pattern!r} is outside the repository")
    if not pattern or any("**" in part and part != "**" for part in parts):
        raise CorpusError(f"{pattern!r} is not a pattern of files: `**` must be alone between two slashes")
    return pattern


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    files = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _check_whole(dataset: HubDataset, config: str, split: str, pattern: str) -> None:
    """Refuse a split whose files are missing: all of them, or some of `name-00000-of-00003.parquet`."""
    files = _matching(dataset.folder, [pattern])
    numbered = [match for file in files if (match := _SHARD.fullmatch(file.as_posix()))]
    shards = {(match[1], match[3]): int(match[2]) for match in numbered}
    if files and len(numbered) == sum(shards.values()):
        return
    location = dataset.location(config, split)
    if dataset.is_remote:
        raise ResourceError(
            f"{location}: {pattern} of commit {dataset.commit} is not, or not wholly, in the Hub's cache. Run once "
            f"with network, or fetch it with `hf download {dataset.id} --repo-type dataset --include '{pattern}'`."
        )
    raise CorpusError(f"{location}: {dataset.folder} has no {pattern}, or not all of it. Fetch the missing files.")
