"""How the fold, the reader and their parts are compiled:
two forms of `numba.njit` without reference counts.

Neither form may make an array. In return no array that passes through is counted: numba cannot
remove the counts of the fields of a named tuple, and each is an atomic instruction, at every use
within a loop.

Compiled code is cached under a digest of all sources of this folder and the one above. numba itself
looks at the file of a function alone, so after a change to a piece of another file it would go on
with the machine code of before.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from numba import config, njit

HERE = Path(__file__).parent


def digest_of(*folders: Path) -> str:
    """16 hexadecimal digits of the names and contents of all Python files in these folders."""
    digest = hashlib.blake2b(digest_size=8)
    for path in (path for folder in folders for path in sorted(folder.glob("*.py"))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


# Where this cannot be written, numba takes a directory of the user's, as it does without it.
config.CACHE_DIR = str(
    Path(config.CACHE_DIR or HERE / "__pycache__") / f"kernels-{digest_of(HERE, HERE.parent)}"
)

# `_nrt` is nobody's interface, and numba has no other way to compile without reference counts.
# A compiled function of its own, cached on disk.
kernel = njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=False)
# A part of its callers, in which it disappears.
piece = njit(inline="always", nogil=True, error_model="numpy", _nrt=False)
