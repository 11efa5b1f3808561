"""What the C libraries below a training are told: glibc's allocator to keep what it has, since a
training step asks for the same large blocks again and again; matrix products to take one thread.

By default blocks above 128 KiB come from the kernel and go back to it at once, so a third of a step
is page faults.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch

THREADS = 1  # small batches: beside any other load, a second thread waits more than it works
# parameters of mallopt(3)
TRIM_THRESHOLD = -1
TOP_PAD = -2
MMAP_MAX = -4
OPENBLAS = "scipy_openblas"  # what NumPy's wheels carry


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


def one_thread_of_numpy() -> bool:
    """Let NumPy's matrix products take one thread, as in a shard; False where its library has no
    such call.

    A product of a hundred candidates on two threads takes eight times longer beside other work.
    """
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    libraries = {line.split()[-1] for line in lines if OPENBLAS in line}
    calls = [
        getattr(ctypes.CDLL(library), f"{OPENBLAS}_set_num_threads64_", None)
        for library in libraries
    ]
    for call in filter(None, calls):
        call(THREADS)
    return any(calls)


def prepare_process() -> None:
    """Make trainings in this process faster; results do not depend on it beyond rounding."""
    keep_freed_memory()
    one_thread_of_numpy()
    torch.set_num_threads(THREADS)
