"""Archived ids as the 64-bit keys that the fold works with."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import xxhash

from model.arrays import Keys


def key_column(ids: pa.ChunkedArray) -> Keys:
    """The key (`actors.clicks.click.key`) of each id, (n,):
    once for each different id of a dictionary column.
    """
    keys = [_chunk(chunk) for chunk in ids.chunks]
    return np.concatenate(keys) if keys else np.empty(0, dtype=np.uint64)


def _chunk(ids: pa.DictionaryArray) -> Keys:
    hashed = xxhash.xxh64_intdigest
    known = np.array(
        [hashed(one) for one in ids.dictionary.cast(pa.binary()).to_pylist()], dtype=np.uint64
    )
    keys: Keys = known[ids.indices.to_numpy()]
    return keys
