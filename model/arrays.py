"""One name for each type of NumPy array: the alias says the numbers, a comment beside it the shape.

A column of events is `(n,)`; a store's states are one matrix `(capacity, row_bytes)` of bytes, and
one state is `(row_bytes,)`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
UInts = npt.NDArray[np.uint32]
Keys = npt.NDArray[np.uint64]  # hashes of the names of users, items and actions
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Reals = npt.NDArray[np.floating]  # float32 or float64
Strings = npt.NDArray[np.object_]  # of str
