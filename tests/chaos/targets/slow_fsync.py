"""Installed as `sitecustomize` for the actors:
while a file `delay_s` lies beside it, each fsync takes longer.

An fsync is where a writer waits for its disk, and it waits without Python's lock, as it does here.
"""

from __future__ import annotations

import os
import select
from pathlib import Path

HERE = Path(__file__).parent
fsync_itself = os.fsync


def slow_fsync(descriptor: int) -> None:
    """Wait as long as the file says, leave a mark, and do what was asked."""
    try:
        delay_s = float((HERE / "delay_s").read_text())
    except FileNotFoundError:
        delay_s = 0.0
    if delay_s:
        with (HERE / "delayed").open("ab") as marks:
            marks.write(b".")
        select.select([], [], [], delay_s)
    fsync_itself(descriptor)


if HERE.joinpath("delay_s.armed").exists():
    # only where it was put on purpose, never when imported from here
    os.fsync = slow_fsync
