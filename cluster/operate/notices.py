"""What a running system says unasked: one line a matter, from the metrics of its processes."""

from __future__ import annotations

import datetime
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from actors.clicks.partitioner import advice
from actors.errors import ShardUnavailable
from actors.shard.unknown_items import EVENTS_MIN, SHARE_MAX, Known
from cluster.kafka.log_watch import SILENT_S
from cluster.scrape import Scraped, values

log = logging.getLogger(__name__)

# in the first two minutes, when a wrong model or topic shows
EARLY_S = 3.0
EARLY_LOOKS = 40
LATE_S = 60.0
# of the misplaced clicks that a partitioner would have put where they lie; by chance it is one in n
LIKELY_SHARE = 0.9
DAY_S = 86_400
NAMED = 8  # partitions in a line


@dataclass(frozen=True, slots=True)
class Notice:
    """A line for the person at the terminal; `matter`, a few words, is what is said once."""

    matter: str
    text: str
    ill: bool = True  # False: worth a look, but the system is healthy


def models(scraped: Iterable[Scraped]) -> dict[str, dict[str, list[str]]]:
    """Which processes run which model, by arm and version."""
    found: dict[str, dict[str, list[str]]] = {}
    for process in scraped:
        for labels, value in values([process], "echorank_model_info"):
            if value == 1:
                versions = found.setdefault(labels["arm"], {})
                versions.setdefault(labels["version"], []).append(process.labels["instance"])
    return found


def silences(scraped: Iterable[Scraped]) -> dict[int, float]:
    """Seconds since Kafka last said where a partition ends, by partition."""
    found = values(scraped, "echorank_log_silence_seconds")
    return {int(labels["partition"]): seconds for labels, seconds in found}


def known_items(scraped: Iterable[Scraped]) -> dict[str, Known]:
    """What each arm folded since its shards started, owners and standbys together."""
    scraped = list(scraped)
    found: dict[str, Known] = {}
    for labels, value in values(scraped, "echorank_folded_total"):
        found[labels["arm"]] = found.get(labels["arm"], Known(0, 0)) + Known(int(value), 0)
    for labels, value in values(scraped, "echorank_unknown_items_total"):
        if labels["source"] == "event":
            found[labels["arm"]] = found.get(labels["arm"], Known(0, 0)) + Known(0, int(value))
    return found


def of_unknown_items(scraped: Sequence[Scraped]) -> Iterator[Notice]:
    """A model that does not know the shop."""
    for arm, known in sorted(known_items(scraped).items()):
        if complaint := known.complaint(arm):
            yield Notice(f"unknown items of {arm}", complaint)


def ages_days(scraped: Iterable[Scraped], now: Callable[[], float] = time.time) -> dict[str, float]:
    """Days since the newest click that each arm's model learned from, where it says so."""
    return {arm: _days_since(until, now()) for arm, (until, _) in _dates(scraped).items()}


def of_old_models(
    scraped: Sequence[Scraped], now: Callable[[], float] = time.time
) -> Iterator[Notice]:
    """A model whose popular items were popular some time ago."""
    for arm, (until, old_from) in sorted(_dates(scraped).items()):
        if _days_since(old_from, now()) > 0:
            yield Notice(
                f"old model in {arm}",
                f"arm {arm}: the newest click that its model learned from is "
                f"{_days_since(until, now()):,.0f} days old, so users without clicks get what was "
                "popular then: train a model on newer clicks (docs/training.md), publish it, and "
                "restart",
                ill=False,
            )


def of_misplaced(scraped: Sequence[Scraped]) -> Iterator[Notice]:
    """A producer that puts clicks into other partitions than their users'."""
    letters = values(scraped, "echorank_dlq_total")
    count = int(sum(value for labels, value in letters if labels["reason"] == "wrong_partition"))
    if not count:
        return
    fitting: Counter[str] = Counter()
    for labels, value in values(scraped, "echorank_misplaced_total"):
        fitting[labels["partitioner"]] += int(value)
    likely = [name for name, fits in fitting.most_common(1) if fits >= count * LIKELY_SHARE]
    yield Notice(
        "misplaced clicks",
        f"{count:,} clicks lie in another partition than their users' (murmur2 of the user id mod "
        "topics.partitions) and are dead letters, wrong_partition, as nobody would find them: "
        f"{advice(likely)}",
    )


def of_dead_letters(scraped: Sequence[Scraped]) -> Iterator[Notice]:
    """A topic whose records are not what events.format and events.fields say."""
    if not any(process.labels.get("actor") == "shard" for process in scraped):
        return  # ingests alone do not say how many clicks are well
    reasons: Counter[str] = Counter()
    for labels, value in values(scraped, "echorank_dlq_total"):
        reasons[labels["reason"]] += int(value)
    del reasons["wrong_partition"]  # has a line of its own
    applied = sum(
        value
        for labels, value in values(scraped, "echorank_events_total")
        if labels["outcome"] == "applied"
    )
    letters = reasons.total()
    if letters >= EVENTS_MIN and letters > SHARE_MAX * (applied + letters):
        reason, count = reasons.most_common(1)[0]
        yield Notice(
            "many dead letters",
            f"{letters:,} records cannot be used and are dead letters, {count:,} of them as "
            f"{reason}, beside {applied:,.0f} clicks: compare events.format, events.fields and "
            "events.time_unit with a record of the topic; the headers of the dead letters say "
            "what is wrong with each",
        )


def of_unknown_actions(scraped: Sequence[Scraped]) -> Iterator[Notice]:
    """A model that was trained on other actions than those that come."""
    folded = known_items(scraped)
    passed: Counter[str] = Counter()
    for labels, value in values(scraped, "echorank_unknown_actions_total"):
        passed[labels["arm"]] += int(value)
    for arm, count in sorted(passed.items()):
        seen = count + (folded[arm].events if arm in folded else 0)
        if seen >= EVENTS_MIN and count > SHARE_MAX * seen:
            yield Notice(
                f"unknown actions in {arm}",
                f"arm {arm}: {count:,} of {seen:,} clicks have actions that its model does not "
                "know and are passed over: translate them by events.action_map, or train a model "
                "on them",
            )


def of_silence(scraped: Sequence[Scraped]) -> Iterator[Notice]:
    """A broker that is away: what nobody says is read from there looks like no news."""
    silent = {
        partition: seconds
        for partition, seconds in silences(scraped).items()
        if seconds >= SILENT_S
    }
    if silent:
        yield Notice(
            "Kafka is silent",
            f"Kafka has not said for {max(silent.values()):,.0f} s where partitions "
            f"{numbers(silent)} end, so nothing is read from them, and lag and age are unknown: "
            "check the brokers, the network, and that the topic exists",
        )


def of_unread_partitions(scraped: Sequence[Scraped]) -> Iterator[Notice]:
    """Somebody added partitions to the topic."""
    unread = int(
        max((value for _, value in values(scraped, "echorank_unread_partitions")), default=0)
    )
    if unread:
        yield Notice(
            f"{unread} partition{'s' * (unread > 1)} unread",
            f"the clicks topic has {unread} more than topics.partitions: nobody reads them, and "
            "producers send most users' clicks to other partitions than before; "
            "docs/operations.md#echorankunreadpartitions",
        )


def of_mixed_models(scraped: Sequence[Scraped]) -> Iterator[Notice]:
    """One arm, two models: which of them answers depends on the user's partition."""
    for arm, versions in sorted(models(scraped).items()):
        if len(versions) > 1:
            who = "; ".join(
                f"{version} in {', '.join(sorted(names))}"
                for version, names in sorted(versions.items())
            )
            yield Notice(
                f"{len(versions)} models in arm {arm}",
                f"arm {arm} runs {len(versions)} models: {who}. Its bundle was replaced while it "
                "was served, and a process has started since: publish to a directory of its own, "
                "and restart",
            )


def of_refused_models(scraped: Sequence[Scraped]) -> Iterator[Notice]:
    """A shard that would be the second model of an arm, and so serves nothing."""
    for process in scraped:
        if any(value for _, value in values([process], "echorank_models_refused")):
            yield Notice(
                f"{process.labels['instance']} refuses its model",
                f"{process.labels['instance']} serves nothing: its bundles are not those that "
                "this system was started with. Its log says which; "
                "docs/operations.md#echorankmodelrefused",
            )


def of_full_disks(scraped: Sequence[Scraped]) -> Iterator[Notice]:
    """Users who stay in memory, above the limit."""
    for process in scraped:
        if full := int(sum(value for _, value in values([process], "echorank_cold_tier_full"))):
            yield Notice(
                f"{process.labels['instance']} has a full cold tier",
                f"{process.labels['instance']} keeps the users of {full} partitions in memory, "
                "above the limit: the disk below state.cold_directory takes no more; "
                "docs/operations.md#echorankcoldtierfull",
            )


def numbers(partitions: Iterable[int]) -> str:
    """The first of them, and how many more."""
    ordered = sorted(partitions)
    more = len(ordered) - NAMED
    return ", ".join(map(str, ordered[:NAMED])) + (f" and {more} more" if more > 0 else "")


def _dates(scraped: Iterable[Scraped]) -> dict[str, tuple[str, str]]:
    """Of each arm, `until` and `old_from` of its model, where there are any."""
    infos = [labels for labels, _ in values(scraped, "echorank_model_info")]
    return {one["arm"]: (one["until"], one["old_from"]) for one in infos if one.get("until")}


def _days_since(moment: str, now_s: float) -> float:
    return (now_s - datetime.datetime.fromisoformat(moment).timestamp()) / DAY_S


KINDS: tuple[Callable[[Sequence[Scraped]], Iterable[Notice]], ...] = (
    of_silence,
    of_unread_partitions,
    of_mixed_models,
    of_refused_models,
    of_full_disks,
    of_unknown_items,
    of_old_models,
    of_unknown_actions,
    of_misplaced,
    of_dead_letters,
)


def notices_of(scraped: Sequence[Scraped]) -> list[Notice]:
    """All that there is to say now."""
    return [notice for kind in KINDS for notice in kind(scraped)]


@dataclass
class Watch:
    """Looks at the metrics again and again, and says each matter once."""

    scrape: Callable[[], list[Scraped]]
    say: Callable[[str], None]
    said: set[str] = field(default_factory=set)
    late_s: float = LATE_S

    def look(self) -> None:
        """Say what is new; metrics that cannot be had now are looked at the next time."""
        try:
            found = notices_of(self.scrape())
        except ShardUnavailable:
            return
        for notice in found:
            if notice.matter not in self.said:
                self.said.add(notice.matter)
                self.say(notice.text)

    def until(self, stop: threading.Event) -> None:
        """Look until `stop` is set: often at first, then every `late_s`."""
        looks = 0
        while not stop.wait(EARLY_S if looks < EARLY_LOOKS else self.late_s):
            try:
                self.look()
            except Exception:
                log.exception(
                    "what the processes show could not be looked at; it is looked at again"
                )
            looks += 1
