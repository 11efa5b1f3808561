"""Compiled loops that count what is together.

Letters: V catalogue items, k pairs of an item and a visit, or of a row and a column.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def nearest(starts, items, item_starts, visits, damped, neighbours):
    """Rows of the `neighbours` items that are most similar to each, without itself, as starts
    (V + 1,), columns (k,) and values (k,); the first four are `visits.Sets`.
    """
    count = len(item_starts) - 1
    both = np.zeros(count)
    touched = np.empty(count, dtype=np.int64)
    row_starts = np.zeros(count + 1, dtype=np.int64)
    columns = np.empty(count * min(neighbours, count), dtype=np.int64)
    values = np.empty(len(columns))
    kept = 0
    for item in range(count):
        own = item_starts[item + 1] - item_starts[item]
        found = 0
        for at in range(item_starts[item], item_starts[item + 1]):
            for place in range(starts[visits[at]], starts[visits[at] + 1]):
                other = items[place]
                if other != item:
                    if both[other] == 0:
                        touched[found] = other
                        found += 1
                    both[other] += 1
        near = np.sort(touched[:found])
        cosine = np.empty(found)
        for n in range(found):
            other = near[n]
            size = item_starts[other + 1] - item_starts[other]
            cosine[n] = both[other] / (np.sqrt(own * size) + damped)
            both[other] = 0
        for n in np.argsort(-cosine, kind="mergesort")[:neighbours]:
            columns[kept] = near[n]
            values[kept] = cosine[n]
            kept += 1
        row_starts[item + 1] = kept
    return row_starts, columns[:kept].copy(), values[:kept].copy()


@njit(cache=True, nogil=True)
def gram_of(rows, starts, items):
    """How many users have both items (items, items), as float32; `rows` (n,) of user u are those
    from starts[u] on.
    """
    found = np.zeros((items, items), dtype=np.float32)
    for user in range(len(starts) - 1):
        own = np.unique(rows[starts[user] : starts[user + 1]])
        own = own[own < items]
        for one in own:
            for other in own:
                found[one, other] += 1
    return found
