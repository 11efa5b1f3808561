"""The same questions without the system: by popularity, by frozen states,
and the replay that audits the states.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import islice

import xxhash

from actors.clicks.click import Click
from actors.clicks.codec import Decoder
from actors.clicks.formats import EventFormat
from actors.clicks.partitioner import partition_of
from actors.clock import Clock
from actors.state.store import PartitionStore
from cluster.demo.clicks import Question
from cluster.demo.stream import TOP, rank_of
from cluster.kafka.log import KafkaLog
from model.bundle.bundle import Bundle

STATE_BYTES_MAX = 1 << 20


class Replay:
    """One uninterrupted pass over the log, from offset 0,
    in this process: what every state must equal.
    """

    def __init__(self, bundle: Bundle, click_log: KafkaLog, clock: Clock, partitions: int) -> None:
        self._log = click_log
        self._decoder = Decoder(EventFormat(), clock, partitions=partitions)
        self.stores = {
            partition: PartitionStore(
                bundle, users_initial=1024, bytes_per_user_max=STATE_BYTES_MAX, clock=clock
            )
            for partition in range(partitions)
        }
        self._log.assign(self.stores)
        for partition in self.stores:
            self._log.seek(partition, 0)

    def until(self, ends: Mapping[int, int]) -> None:
        """Fold every partition up to its end and no further."""
        going = {
            partition for partition, end in ends.items() if self.stores[partition].position < end
        }
        for partition in self.stores:
            self._log.seek(partition, self.stores[partition].position)
            (self._log.resume if partition in going else self._log.pause)(partition)
        while going:
            for part in self._log.poll():
                batch, _ = self._decoder.decode_batch(
                    part.partition, part.start, part.stop, part.records
                )
                store = self.stores[part.partition]
                end = ends[part.partition]
                store.fold(batch.before(end))
                if store.position >= end and part.partition in going:
                    going.discard(part.partition)
                    self._log.pause(part.partition)

    def digests(self, arm: str) -> dict[tuple[int, str], str]:
        """The digest of each partition, named as a running system names them."""
        return {(partition, arm): store.digest() for partition, store in self.stores.items()}

    def users(self) -> int:
        """Users with a state."""
        return sum(store.users for store in self.stores.values())

    def close(self) -> None:
        """Close the connections."""
        self._log.close()


def frozen_ranks(replay: Replay, bundle: Bundle, asked: Iterable[Question]) -> list[int]:
    """Places of the clicked items in the top 10 by the states as they are now,
    which learn nothing on the way.
    """
    ranks = []
    for question in asked:
        click = question.click
        store = replay.stores[partition_of(click.user, len(replay.stores))]
        row = store.row(xxhash.xxh64_intdigest(click.user.encode()))
        top, _ = bundle.recommend(row, TOP, exclude_seen=True, now_ms=click.time_ms)
        ranks.append(rank_of(click.item, [bundle.items[item] for item in top.tolist()]))
    return ranks


def popularity_ranks(earlier: Iterable[Click], questions: Iterable[Question]) -> list[int]:
    """Places of the clicked items among the most clicked ones that the user has not clicked yet,
    one entry a click that is asked about.
    """
    counts: Counter[str] = Counter()
    seen: dict[str, set[str]] = defaultdict(set)
    for click in earlier:
        counts[click.item] += 1
        seen[click.user].add(click.item)
    order = [item for item, _ in counts.most_common()]
    ranks = []
    for question in questions:
        known = seen[question.click.user]
        if question.candidates:
            unseen = (item for item in order if item not in known)
            ranks.append(rank_of(question.click.item, list(islice(unseen, TOP))))
        known.add(question.click.item)
    return ranks
