"""The archive's process: reads all partitions, whoever owns them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from actors.archive.erasure import ErasedRows
from actors.archive.writer import Archive


class ArchiveProcess:
    """Runs the archive until it is told to stop."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._stop = asyncio.Event()
        self._stopped = asyncio.Event()

    def methods(self) -> Sequence[Callable[..., Any]]:
        """What other processes may call."""
        return self.erase, self.stop

    async def run(self) -> None:
        """Archive clicks, until `stop`."""
        await self._archive.run(self._stop)
        self._stopped.set()

    async def erase(self, partition: int, user_key: int, until: int) -> list[ErasedRows]:
        """Take a user's clicks below offset `until` out of files and memory;
        ArchiveError if that fails: try again.
        """
        return await asyncio.to_thread(self._archive.erase, partition, user_key, until)

    async def stop(self) -> None:
        """Write what was read, and read no more."""
        self._stop.set()
        await self._stopped.wait()
