"""What a running system says unasked: once a matter, from metrics, whoever is away."""

from __future__ import annotations

import datetime
import threading

import pytest
from prometheus_client.samples import Sample

from actors.errors import ShardUnavailable
from cluster.operate import notices
from cluster.operate.notices import Watch, known_items, notices_of, of_old_models
from cluster.scrape import Scraped


def shard(name: str, events: int, unknown: int, arm: str = "main") -> Scraped:
    """A shard that folded so many clicks, so many of them on unknown items."""
    samples = [
        Sample("echorank_folded_total", {"arm": arm}, events),
        Sample("echorank_unknown_items_total", {"arm": arm, "source": "event"}, unknown),
        Sample("echorank_unknown_items_total", {"arm": arm, "source": "request"}, 10_000),
    ]
    return Scraped(address="x:1", labels={"instance": name, "actor": "shard"}, samples=samples)


def test_shares_are_of_all_shards_together() -> None:
    """Candidates do not count, nor does a process that is away."""
    away = Scraped(address="x:2", labels={"instance": "shard-9"}, error="gone")
    found = known_items(
        [shard("shard-0", 100, 100), shard("shard-1", 300, 0), away, shard("shard-1", 5, 1, "b")]
    )
    assert {arm: (known.events, known.unknown) for arm, known in found.items()} == {
        "main": (400, 100),
        "b": (5, 1),
    }


NOON_S = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC).timestamp()


def dated(arm: str, until: str, old_from: str) -> Scraped:
    """A shard whose model learned from clicks until then."""
    labels = {"arm": arm, "version": "v", "until": until, "old_from": old_from}
    samples = [Sample("echorank_model_info", labels, 1)]
    return Scraped(address="x:1", labels={"instance": "shard-0", "actor": "shard"}, samples=samples)


def test_a_model_of_old_clicks_is_said() -> None:
    """From the moment on that the model itself names; one without a date is never old."""
    scraped = [
        dated("slow", "2026-01-01T00:00:00+00:00", "2026-01-31T00:00:00+00:00"),
        dated("fast", "2026-01-20T00:00:00+00:00", "2026-01-27T00:00:00+00:00"),
        dated("undated", "", ""),
        shard("shard-1", 9, 0),
    ]

    def said(day: int) -> list[str]:
        now = datetime.datetime(2026, 1, day, 12, tzinfo=datetime.UTC).timestamp()
        return [notice.matter for notice in of_old_models(scraped, lambda: now)]

    assert said(26) == []
    assert said(27) == ["old model in fast"]
    assert said(31) == ["old model in fast", "old model in slow"]
    [fast, _] = of_old_models(scraped, lambda: NOON_S)
    assert "arm fast: the newest click that its model learned from is 12 days old" in fast.text
    assert not fast.ill


def ingest(name: str, wrong: int, **fitting: int) -> Scraped:
    """An ingest that found so many clicks in wrong partitions,
    so many of them where each partitioner puts them.
    """
    samples = [
        Sample("echorank_dlq_total", {"reason": "wrong_partition"}, wrong),
        Sample("echorank_dlq_total", {"reason": "undecodable"}, 7),
        *(
            Sample("echorank_misplaced_total", {"partitioner": by}, count)
            for by, count in fitting.items()
        ),
    ]
    return Scraped(address="x:1", labels={"instance": name, "actor": "ingest"}, samples=samples)


def test_a_topic_of_other_records_is_said() -> None:
    """Many dead letters name their most frequent reason and the settings
    to look at; a few are no news.
    """

    def scraped(letters: int, applied: int) -> list[Scraped]:
        found = [
            Sample("echorank_dlq_total", {"reason": reason}, letters)
            for reason in ("missing_user", "undecodable")
        ]
        found += [Sample("echorank_dlq_total", {"reason": "missing_user"}, 1)]
        states = [
            Sample("echorank_events_total", {"partition": "0", "outcome": "applied"}, applied)
        ]
        return [
            Scraped(
                address="x:1", labels={"instance": "ingest-0", "actor": "ingest"}, samples=found
            ),
            Scraped(
                address="x:2", labels={"instance": "shard-0", "actor": "shard"}, samples=states
            ),
        ]

    [notice] = notices_of(scraped(500, 100))
    assert (
        "1,001 records cannot be used and are dead letters, 501 of them as missing_user"
        in notice.text
    )
    assert "events.fields" in notice.text
    assert notices_of(scraped(500, 100_000)) == []
    assert notices_of(scraped(50, 0)) == []
    assert notices_of(scraped(500, 100)[:1]) == []


def test_a_model_of_other_actions_is_said() -> None:
    """Clicks that an arm passes over for their action, where they are many."""
    passed = [Sample("echorank_unknown_actions_total", {"arm": "main"}, 900)]
    away = Scraped(address="x:1", labels={"instance": "shard-1", "actor": "shard"}, samples=passed)
    [notice] = notices_of([shard("shard-0", 100, 0), away])
    assert "arm main: 900 of 1,000 clicks have actions that its model does not know" in notice.text
    assert notices_of([shard("shard-0", 100_000, 0), away]) == []


@pytest.mark.parametrize(
    ("fitting", "said"),
    [
        ([{"crc32": 30, "fnv1a": 9}, {"crc32": 10, "fnv1a": 2}], "librdkafka"),
        ([{"crc32": 9, "fnv1a": 30}, {"fnv1a": 10}], "Sarama"),
        ([{"none": 30}, {"none": 10}], "no key"),
        ([{"crc32": 9, "fnv1a": 8}, {"crc32": 2}], "unknown"),
        ([{}, {}], "unknown"),
    ],
)
def test_misplaced_clicks_are_said_with_who_misplaces_them(
    fitting: list[dict[str, int]], said: str
) -> None:
    """All ingests together; a partitioner that fits by chance only is not blamed."""
    scraped = [ingest("ingest-0", 30, **fitting[0]), ingest("ingest-1", 10, **fitting[1])]
    [notice] = notices_of(scraped)
    assert "40 clicks lie in another partition" in notice.text
    assert said in notice.text
    assert notices_of([ingest("ingest-0", 0)]) == []


def test_each_matter_is_said_once_and_a_gateway_that_is_away_stops_nothing() -> None:
    """A model of another shop, then a second arm's; between them, no metrics at all."""
    looks: list[list[Scraped] | None] = [
        [shard("shard-0", 100, 100)],
        [shard("shard-0", 300, 300)],
        None,
        [shard("shard-0", 900, 900), shard("shard-1", 400, 399, "b")],
    ]
    said: list[str] = []

    def scrape() -> list[Scraped]:
        if (look := looks.pop(0)) is None:
            raise ShardUnavailable("no list of processes")
        return look

    watch = Watch(scrape, said.append)
    while looks:
        watch.look()
    assert [line.partition(":")[0] for line in said] == ["arm main", "arm b"]
    assert "300 of 300 clicks (100%)" in said[0]


class ScriptedStop(threading.Event):
    """Is set after some waits, and notes how long each was to be."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.left = waits
        self.waits_s = list[float]()

    def wait(self, timeout: float | None = None) -> bool:
        """At once."""
        self.left -= 1
        self.waits_s.append(timeout or 0.0)
        return self.left < 0


def test_it_looks_often_at_first_and_rarely_later() -> None:
    """A wrong model shows within seconds; a system at rest is not asked all the time."""
    looks = []
    stop = ScriptedStop(notices.EARLY_LOOKS + 2)
    Watch(lambda: looks.append(1) or [], lambda _: None).until(stop)  # type: ignore[func-returns-value]
    assert len(looks) == notices.EARLY_LOOKS + 2
    assert stop.waits_s[0] <= 5
    assert stop.waits_s[-1] == notices.LATE_S


def test_a_look_that_fails_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    """What nobody thought of is logged with its traceback, and it is looked again."""
    looks: list[int] = []

    def scrape() -> list[Scraped]:
        looks.append(1)
        raise RuntimeError("a defect")

    Watch(scrape, lambda _: None).until(ScriptedStop(3))
    assert len(looks) == 3
    assert "a defect" in caplog.text


def test_a_refused_model_and_a_full_disk_are_said() -> None:
    """Each names its shard; one that serves and has room is silent."""
    trouble = [
        Sample("echorank_models_refused", {}, 1),
        Sample("echorank_cold_tier_full", {"arm": "main"}, 3),
    ]
    well = [
        Sample("echorank_models_refused", {}, 0),
        Sample("echorank_cold_tier_full", {"arm": "main"}, 0),
    ]
    shards = [
        Scraped(address=f"x:{number}", labels={"instance": f"shard-{number}"}, samples=samples)
        for number, samples in enumerate((well, trouble))
    ]
    assert [notice.matter for notice in notices.notices_of(shards)] == [
        "shard-1 refuses its model",
        "shard-1 has a full cold tier",
    ]
