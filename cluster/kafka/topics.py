"""Topics as EchoRank needs them: made on purpose, never by accident,
and checked before anything runs.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from actors.errors import BrokerUnavailable, ConfigError

log = logging.getLogger(__name__)

UNCLEAN = "unclean.leader.election.enable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic that must exist.

    `partitions` is demanded of an existing topic only if `exact`: users are routed by the number of
    partitions of the clicks topic, while for dead letters any number will do.
    """

    name: str
    partitions: int
    replication_factor: int = 1
    exact: bool = False
    needs: Literal["Read", "Write"] = "Write"  # what we do with it
    create: bool = True  # where it is missing


class TopicAdmin(Protocol):
    """What is asked of Kafka."""

    def partitions(self, topic: str) -> int | None:
        """How many partitions `topic` has; None if there is no such topic."""
        ...

    def create(self, topic: str, partitions: int, replication_factor: int) -> bool:
        """Make `topic` and wait until it can be used; False if somebody else made it first."""
        ...

    def names(self) -> list[str]:
        """The topics that are there, as far as we are told."""
        ...

    def require(self, topic: str, operation: str) -> None:
        """See that we may `Read` or `Write` a topic; BrokerUnavailable if we may not."""
        ...


class TopicSettings(Protocol):
    """What a topic's settings are asked of."""

    def settings(self, topic: str, names: Sequence[str]) -> Mapping[str, str]:
        """These settings of a topic, set or by default;
        without those that the broker does not tell.
        """
        ...


def ensure_topics(admin: TopicAdmin, topics: Iterable[Topic]) -> None:
    """Make the topics that are missing and may be made, and check those that are there.

    Raises:
        ConfigError: a topic is missing and may not be created, or has another number of partitions.
        BrokerUnavailable: the broker does not answer, or does not let us do what we do with a
            topic.
    """
    for topic in topics:
        found = admin.partitions(topic.name)
        if found is None:
            if not topic.create:
                raise ConfigError(_missing(topic, admin.names()))
            if admin.create(topic.name, topic.partitions, topic.replication_factor):
                log.info("made topic %s with %d partitions", topic.name, topic.partitions)
                continue
            found = admin.partitions(topic.name)
        if topic.exact and found != topic.partitions:
            raise ConfigError(
                f"topic {topic.name} has {found} partitions, but topics.partitions is "
                f"{topic.partitions}: users would be looked for in the wrong places. Set "
                f"topics.partitions: {found} (with an empty state.directory), or name another "
                "topic"
            )
        admin.require(topic.name, topic.needs)


def _missing(topic: Topic, names: Sequence[str]) -> str:
    alike = difflib.get_close_matches(
        topic.name, [name for name in names if not name.startswith("__")]
    )
    meant = f" (did you mean {' or '.join(alike)}?)" if alike else ""
    return (
        f"topic {topic.name} does not exist{meant}, and is not made without being asked for: "
        "correct the name, set topics.create: true, or run kafka-topics.sh --create --topic "
        f"{topic.name} --partitions {topic.partitions} --replication-factor "
        f"{topic.replication_factor}"
    )


def warn_of_lossy_settings(admin: TopicSettings, topic: str) -> None:
    """Log a warning if Kafka may cut `topic` off by itself; a broker that does not say is none.

    The log that is left may grow beyond the states with other clicks before anybody reads it.
    Positions are stored without the leader's epoch, so a start after that mixes two logs and cannot
    notice.
    """
    try:
        unclean = admin.settings(topic, (UNCLEAN,)).get(UNCLEAN, "false").lower() == "true"
    except BrokerUnavailable as error:
        log.warning("whether %s is on for topic %s is not known: %s", UNCLEAN, topic, error)
        return
    if unclean:
        log.warning(
            "topic %s has %s=true: a replica that lags may become leader and cut off clicks that "
            "are in the states already, unnoticed if it happens while nobody reads. Set it to "
            "false, with a replication factor of 3 and min.insync.replicas=2: kafka-configs.sh "
            "--alter --entity-type topics --entity-name %s --add-config "
            "%s=false,min.insync.replicas=2",
            topic, UNCLEAN, topic, UNCLEAN,
        )  # fmt: skip
