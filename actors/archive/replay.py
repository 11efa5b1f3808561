"""States computed anew from the clicks themselves: archive and log,
folded at full speed, in one process.

No shard, no gRPC, no Ray: a history gives batches of thousands of clicks, and the fold takes them.
What comes out is what a shard has at the same offset, byte for byte, because the states depend on
the log and the model alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from actors.clicks.click import ClickBatch
from actors.ingest.ports import ClickHistory, Gap
from actors.state.store import PartitionStore

Piece = ClickBatch | Gap


class ArchiveThenLog:
    """A history out of two: the archive as far as it goes,
    the log beyond that and wherever the archive has a gap.
    """

    def __init__(self, archive: ClickHistory, log: ClickHistory) -> None:
        self._archive = archive
        self._log = log

    def end(self, partition: int) -> int | None:
        """The further end of the two."""
        ends = (self._archive.end(partition), self._log.end(partition))
        return max((end for end in ends if end is not None), default=None)

    def read(self, partition: int, start: int, stop: int) -> Iterator[Piece]:
        """The offsets [start, stop) in order; a gap is what both lack.
        Ends early where the log does, at its end.
        """
        archived = max(start, min(stop, self._archive.end(partition) or start))
        for piece in self._archive.read(partition, start, archived):
            if isinstance(piece, Gap):
                yield from self._from_log(piece)
            else:
                yield piece
        yield from self._log.read(partition, archived, stop)

    def _from_log(self, gap: Gap) -> Iterator[Piece]:
        at = gap.start
        for piece in self._log.read(gap.partition, gap.start, gap.stop):
            at = piece.stop
            if isinstance(piece, Gap):
                reason = f"{gap.reason}, and {piece.reason}"
                piece = Gap(piece.partition, piece.start, piece.stop, reason)  # noqa: PLW2901
            yield piece
        if at < gap.stop:
            yield Gap(
                gap.partition,
                at,
                gap.stop,
                f"{gap.reason}, and the log gives no more than offset {at}",
            )


def fold(
    pieces: Iterable[Piece], stores: Mapping[str, PartitionStore], stops: Mapping[str, int]
) -> Iterator[Piece]:
    """Fold pieces that follow each other into each arm up to its own stop;
    gives each piece back when it is folded.

    The next piece is read and decoded meanwhile: reading holds the interpreter, folding does not. A
    gap moves the position, as a shard skips what its log has lost; whoever calls this decides what
    to make of it.

    Raises:
        OffsetGap: the pieces start above an arm's position, or do not follow each other.
    """
    for piece in _ahead(pieces):
        for arm, store in stores.items():
            if store.position >= min(piece.stop, stops[arm]):
                continue
            if isinstance(piece, Gap):
                store.skip_to(min(piece.stop, stops[arm]))
            else:
                store.fold(_by_user(piece.after(store.position).before(stops[arm])))
        yield piece


def _by_user(batch: ClickBatch) -> ClickBatch:
    """The same clicks, each user's one after the other:
    their rows stay in the cache, which folds a fourth faster.

    Users do not depend on each other, and a user's own clicks keep their order. The batch begins
    where the store is, so the store takes all of it; positions in between would mean nothing, but
    nobody else looks at a replay's store.
    """
    order = np.argsort(batch.users, kind="stable")
    return replace(
        batch,
        offsets=batch.offsets[order],
        users=batch.users[order],
        items=batch.items[order],
        actions=batch.actions[order],
        times_ms=batch.times_ms[order],
        record_ms=batch.record_ms[order],
    )


def _ahead(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The same pieces; while one is used, a thread gets the next."""
    source = iter(pieces)
    with ThreadPoolExecutor(1, thread_name_prefix="replay") as reader:
        following = reader.submit(next, source, None)
        while (piece := following.result()) is not None:
            following = reader.submit(next, source, None)
            yield piece
