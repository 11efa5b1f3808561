"""How the fold, the reader and their parts are compiled: two forms of `numba.njit` without reference counts.

Neither form may make an array. In return no array that passes through is counted: numba cannot remove the counts of
the fields of a named tuple, and each is an atomic instruction, at every use within a loop.
"""

from __future__ import annotations

from numba import njit

# A compiled function of its own, cached on disk.
kernel = njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=False)
# A part of its callers, in which it disappears.
piece = njit(inline="always", nogil=True, error_model="numpy", _nrt=False)
