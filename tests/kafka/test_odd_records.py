"""Records that are double, out of order, empty, huge or compressed."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections import Counter

import pytest

from actors.clicks.formats import EventFormat
from cluster.kafka.clients import producer
from tests.actors.click_log import CONFIG, ITEMS, bundle
from tests.cluster.kafka.topic_reader import records
from tests.kafka.click_path import FIRST_MS, acknowledged, click, number_of, read
from tests.kafka.cluster_of_brokers import ClusterOfBrokers
from tests.kafka.conftest import Scene
from tests.kafka.load import Load

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

WIDE = EventFormat(format="json", record_bytes_max=2_000_000)


@pytest.mark.parametrize("idempotent", [True, False])
async def test_retries_of_a_producer_that_hears_no_answer(
    cluster: ClusterOfBrokers, stage: Scene, idempotent: bool
) -> None:
    """The broker recognises an idempotent producer's retries;
    others' are events of their own, where they stand.
    """
    topic = stage.topic(nodes=[1])
    access = cluster.access(proxied=True, request_timeout_s=1.0)
    options = {
        "enable_idempotence": idempotent,
        "request_timeout_ms": 500,
        "delivery_timeout_ms": 60_000,
    }
    async with stage.path(topic) as path:
        with Load(access, topic, **options) as load:
            await path.until(lambda: path.positions()[0] > 50)
            cluster.proxies[1].be("deaf")
            deaf_until_s = time.monotonic() + 1.5  # three of the producer's time-outs
            await path.until(lambda: time.monotonic() > deaf_until_s)
            cluster.proxies[1].be("pass")
            await path.until(lambda: load.sent > 1000)
            await asyncio.to_thread(load.stop)
        log = await asyncio.to_thread(read, stage.access, topic)
        await path.reach(log[-1].offset + 1)
        assert path.digests() == path.clean(log)
    times = Counter(map(number_of, log))
    assert load.failed == []
    assert len(times) == load.sent
    assert (max(times.values()) == 1) == idempotent


async def test_exact_duplicates_can_be_dropped(scene: Scene) -> None:
    """With `drop_duplicates` in the model's configuration,
    a repeated click within the ring changes nothing.
    """
    topic = scene.topic()
    order = [
        n
        for start in range(0, 100, 4)
        for n in (*range(start, start + 4), *range(start, start + 4))
    ]
    with producer(scene.access) as writer:
        for number in order:
            writer.send(topic, click(number)[1], key=click(number)[0])
    dropping = bundle(config=dataclasses.replace(CONFIG, drop_duplicates=True))
    first = {number: offset for offset, number in reversed(list(enumerate(order)))}
    once = [acknowledged(offset, number) for number, offset in first.items()]
    async with (
        scene.path(topic) as plain,
        scene.path(topic, model=dropping, root=scene.root / "dropping") as path,
    ):
        await path.reach(200)
        await plain.reach(200)
        assert path.digests() == path.clean(once)
        assert plain.digests() == plain.clean([acknowledged(*place) for place in enumerate(order)])


async def test_the_log_is_the_order(scene: Scene) -> None:
    """Clicks whose times go back are folded where they stand;
    nothing is sorted, held back or dropped.
    """
    topic = scene.topic()
    order = [n ^ 5 for n in range(200)]
    with producer(scene.access) as writer:
        for number in order:
            writer.send(topic, click(number)[1], key=click(number)[0])
    async with scene.path(topic, records_per_poll_max=13) as path:
        await path.reach(200)
        assert path.digests() == path.clean([acknowledged(*place) for place in enumerate(order)])


async def test_empty_and_huge_records_become_dead_letters(scene: Scene) -> None:
    """No value, an empty one and one of 1.5 MB, more than one fetch holds,
    are kept with reasons; clicks go on.
    """
    topic = scene.topic(max_message_bytes=2_000_000)
    with producer(scene.access, max_request_size=2_000_000, compression_type=None) as writer:
        for key, value in (click(0), (b"k", None), (b"k", b""), (b"k", b"x" * 1_500_000), click(1)):
            writer.send(topic, value, key=key).get(10)
    async with scene.path(topic) as path:
        await path.reach(5)
        assert path.sample("dlq_total", reason="empty_value") == 2
        assert path.sample("dlq_total", reason="too_large") == 1
        assert path.digests() == path.clean([acknowledged(0, 0), acknowledged(4, 1)])
    letters = await asyncio.to_thread(records, scene.access, f"{topic}.dlq", 3)
    assert [len(letter.value or b"") for letter in letters] == [0, 0, 450_000]
    assert dict(letters[2].headers)["__streams.errors.message"].startswith(
        b"the value has 1500000 bytes, more than"
    )


async def test_letters_that_their_topic_refuses(scene: Scene) -> None:
    """The topic takes less than a letter, then less than its headers:
    cut, then counted; clicks go on.
    """
    topic = scene.topic()
    scene.configure(f"{topic}.dlq", max_message_bytes=1000)
    good = click(0)
    odd = b"{bad" + random.Random(0).randbytes(5000)
    with producer(scene.access) as writer:
        for key, value in (good, (b"k", odd), (b"k", b""), click(1)):
            writer.send(topic, value, key=key).get(10)
    async with scene.path(topic) as path:
        await path.reach(4)
        assert path.sample("dlq_refused_total", reason="undecodable") == 0
        assert path.digests() == path.clean([acknowledged(0, 0), acknowledged(3, 1)])
        letters = await asyncio.to_thread(records, scene.access, f"{topic}.dlq", 2)
        assert sorted(len(letter.value or b"") for letter in letters) == [0, 109]
        scene.configure(f"{topic}.dlq", max_message_bytes=100)
        with producer(scene.access) as writer:
            for key, value in ((b"k", odd), click(2)):
                writer.send(topic, value, key=key).get(10)
        await path.reach(6)
        assert path.sample("dlq_refused_total", reason="undecodable") == 1


async def test_huge_clicks_count_where_they_are_allowed(scene: Scene) -> None:
    """With events.record_bytes_max raised, clicks of 1 MB and more are clicks like any other."""
    topic = scene.topic(max_message_bytes=2_000_000)
    with producer(scene.access, max_request_size=2_000_000, compression_type=None) as writer:
        for number in range(6):
            padding = "x" * (1_000_000 + 100_000 * number if number % 2 else 1)
            item = ITEMS[number]
            time_ms = FIRST_MS + number
            text = f'{{"user":"u","item":"{item}","time":{time_ms},"more":"{padding}"}}'
            writer.send(topic, text.encode(), key=b"u").get(10)
    async with scene.path(topic, event_format=WIDE) as path:
        await path.reach(6)
        assert path.sample("events_total", partition="0", outcome="applied") == 6
        assert path.digests() == path.clean(await asyncio.to_thread(read, scene.access, topic))


async def test_compressed_batches(scene: Scene) -> None:
    """Batches of every compression, mixed; reading may start in the middle of one."""
    topic = scene.topic()
    for start, compression in enumerate(["gzip", "snappy", "lz4", "zstd", None]):
        with producer(scene.access, compression_type=compression, linger_ms=50) as writer:
            for number in range(100 * start, 100 * start + 100):
                writer.send(topic, click(number)[1], key=click(number)[0])
    every = [acknowledged(n, n) for n in range(500)]
    async with scene.path(topic, records_per_poll_max=30) as path:
        await path.until(lambda: path.positions()[0] > 0)
        path.shard.snapshot(0)
    async with scene.path(topic, records_per_poll_max=30) as again:
        assert 0 < again.positions()[0] <= 500
        await again.reach(500)
        assert again.digests() == again.clean(every)
