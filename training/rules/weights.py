"""A sparse matrix of weights between items, in compressed rows, as NumPy alone holds it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.arrays import Doubles, Longs


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Row i has the columns [starts[i], starts[i + 1]), each once."""

    starts: Longs  # (V + 1,)
    columns: Longs  # (k,)
    values: Doubles  # (k,)

    @classmethod
    def summed(cls, rows: Longs, columns: Longs, values: Doubles, items: int) -> Weights:
        """The sums of the values (k,) that share a row and a column, both below V = `items`."""
        keys = rows * items + columns
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
        sums = np.add.reduceat(values[order], first) if len(first) else np.zeros(0)
        return cls(
            starts=np.searchsorted(keys[first], np.arange(items + 1) * items),
            columns=keys[first] % items,
            values=sums,
        )

    def add_row(self, scores: Doubles, row: int, weight: float) -> None:
        """Add `weight` times a row to the scores (V,)."""
        part = slice(self.starts[row], self.starts[row + 1])
        scores[self.columns[part]] += weight * self.values[part]
