"""glibc's allocator, told to keep what it has:
a training step asks for the same large blocks again and again.

By default blocks above 128 KiB come from the kernel and go back to it at once, so a third of a step
is page faults.
"""

from __future__ import annotations

import ctypes

import torch

THREADS = 1  # small batches: beside any other load, a second thread waits more than it works
# parameters of mallopt(3)
TRIM_THRESHOLD = -1
TOP_PAD = -2
MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Serve all blocks from a heap that never shrinks; False where the C library has no `mallopt`.

    Holds for the whole process, which then keeps its peak of memory until it ends.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1), (TOP_PAD, 64 * 2**20))
    done = [mallopt(name, value) for name, value in settings]
    return all(done)


def prepare_process() -> None:
    """Make trainings in this process faster; results do not depend on it beyond rounding."""
    keep_freed_memory()
    torch.set_num_threads(THREADS)
