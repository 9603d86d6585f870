"""Which rows an update trains on: a pure function of (seed, epoch), the same in every process.

The order is never saved: an update's number gives its epoch and its batch in that epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def mix_seed(*parts: int) -> int:
    """One 63-bit seed out of several numbers, without collisions that matter."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


class BatchPlan:
    """The batches of all epochs over some rows.

    An epoch is a permutation of the rows. With a sampling temperature T above 1, the number of rows stays about the
    same, but a language with share p of them gets p**(1/T), normalised: rows of small languages are repeated, rows of
    large ones left out. With 900 rows of `en`, 100 of `da` and T = 2, `en` gets 750 rows and `da` 250.

    With `pool` above 1, that number of batches is sorted by length, cut into chunks of `chunk` rows (by default one
    batch), and the chunks are shuffled. A batch then has rows of similar length, or several such chunks. With batches
    of 2 and a pool of 3, lengths 7 1 5 2 9 4 are sorted to 1 2 | 4 5 | 7 9, and the batches may be 7 9, 1 2, 4 5.
    """

    def __init__(
        self,
        lengths: NDArray[np.integer[Any]],
        *,
        batch: int,
        seed: int,
        pool: int = 1,
        chunk: int | None = None,
        languages: Mapping[str, NDArray[np.int64]] | None = None,
        temperature: float = 1.0,
    ) -> None:
        self.lengths = lengths
        self.batch = batch
        self.seed = seed
        self.pool = pool
        self.chunk = min(chunk or batch, batch)
        self._quota = _quota(languages or {}, temperature) if temperature > 1 else {}
        self._languages = languages or {}
        self.n_rows = sum(self._quota.values()) if self._quota else len(lengths)
        self.batches_per_epoch = -(-self.n_rows // batch)
        self._epoch = -1
        self._order: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def mean(self, values: NDArray[np.integer[Any]]) -> float:
        """The mean of a number of each row, over the rows that an epoch has. Shapes: values (rows,)."""
        if not self._quota:
            return float(values.mean())
        total = sum(count * float(values[self._languages[name]].mean()) for name, count in self._quota.items())
        return total / self.n_rows

    def rows(self, update: int) -> NDArray[np.int64]:
        """The rows of an update, over all processes. Shapes: (batch,) int64, fewer at an epoch's end."""
        epoch, index = divmod(update, self.batches_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._epoch_order(epoch)
        return self._order[index * self.batch : (index + 1) * self.batch]

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        random = np.random.Generator(np.random.Philox(mix_seed(self.seed, epoch)))
        if self._quota:
            drawn = [_draw(self._languages[name], count, random) for name, count in sorted(self._quota.items())]
            order = random.permutation(np.concatenate(drawn))
        else:
            order = random.permutation(self.n_rows).astype(np.int64)
        if self.pool > 1:
            order = np.concatenate([self._shuffle_chunks(part, random) for part in self._pools(order)])
        return order

    def _pools(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        size = self.pool * self.batch
        return [order[start : start + size] for start in range(0, len(order), size)]

    def _shuffle_chunks(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        """Sort the rows of a pool by length and shuffle its chunks; one that is too short comes last."""
        by_length = rows[np.argsort(self.lengths[rows], kind="stable")]
        chunks = [by_length[start : start + self.chunk] for start in range(0, len(rows), self.chunk)]
        whole = [chunk for chunk in chunks if len(chunk) == self.chunk]
        dealt = [whole[index] for index in random.permutation(len(whole))]
        return np.concatenate([*dealt, *(chunk for chunk in chunks if len(chunk) < self.chunk)])


def rows_by_language(languages: NDArray[np.str_]) -> dict[str, NDArray[np.int64]]:
    """The rows of each language. Shapes: languages (rows,), the code of each row's."""
    return {str(name): np.flatnonzero(languages == name).astype(np.int64) for name in np.unique(languages)}


def _quota(languages: Mapping[str, NDArray[np.int64]], temperature: float) -> dict[str, int]:
    """How many rows of an epoch each language gets."""
    sizes = {name: len(rows) for name, rows in languages.items() if len(rows)}
    weights = {name: size ** (1 / temperature) for name, size in sizes.items()}
    scale = sum(sizes.values()) / sum(weights.values())
    return {name: max(1, round(weight * scale)) for name, weight in weights.items()}


def _draw(rows: NDArray[np.int64], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """`count` of a language's rows; none is drawn twice before all were drawn once."""
    rounds = -(-count // len(rows))
    return np.concatenate([random.permutation(rows) for _ in range(rounds)])[:count]
