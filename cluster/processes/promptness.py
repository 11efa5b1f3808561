"""What keeps Python itself from holding up a process that answers requests."""

from __future__ import annotations

import gc
import sys

# A thread that waits for the interpreter asks for it after so long; the default of 5 ms is a third
# of a score's target.
SWITCH_INTERVAL_S = 0.0005


def answer_promptly() -> None:
    """Call it once a process is built, before it serves.

    Threads take turns often, and the collector leaves alone what is there for good: going through
    the modules and kernels of a shard takes 70 ms, during which nobody is answered.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
