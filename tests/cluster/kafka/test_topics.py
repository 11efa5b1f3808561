"""Topics: made when missing, checked when there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from actors.errors import BrokerUnavailable, ConfigError
from cluster.broker.broker import Broker
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin
from cluster.kafka.topics import UNCLEAN, Topic, ensure_topics, warn_of_lossy_settings
from cluster.settings import for_parts
from cluster.settings.config import Settings
from cluster.settings.serving import ServingSettings
from cluster.settings.stream import TopicSettings

CLICKS = Topic(name="clicks", partitions=8, replication_factor=3, exact=True)
LETTERS = Topic(name="clicks.dlq", partitions=1)


@dataclass
class FakeAdmin:
    """A cluster of topics; `stolen` ones appear just before they are created."""

    topics: dict[str, int] = field(default_factory=dict)
    stolen: dict[str, int] = field(default_factory=dict)
    created: list[tuple[str, int, int]] = field(default_factory=list)
    required: list[tuple[str, str]] = field(default_factory=list)

    def partitions(self, topic: str) -> int | None:
        return self.topics.get(topic)

    def create(self, topic: str, partitions: int, replication_factor: int) -> bool:
        if topic in self.stolen:
            self.topics[topic] = self.stolen[topic]
            return False
        self.topics[topic] = partitions
        self.created.append((topic, partitions, replication_factor))
        return True

    def names(self) -> list[str]:
        return list(self.topics)

    def require(self, topic: str, operation: str) -> None:
        self.required.append((topic, operation))


def test_missing_topics_are_made_and_others_left_alone() -> None:
    """Only what is missing is created, with its partitions and replication factor."""
    admin = FakeAdmin({"clicks.dlq": 5})
    ensure_topics(admin, [CLICKS, LETTERS])
    assert admin.created == [("clicks", 8, 3)]


def test_another_number_of_partitions_is_an_error_that_names_both() -> None:
    """Routing depends on the number, so nothing runs with another one."""
    with pytest.raises(ConfigError, match=r"clicks has 4 partitions, but topics\.partitions is 8"):
        ensure_topics(FakeAdmin({"clicks": 4}), [CLICKS])


def test_a_topic_that_somebody_else_just_made_is_checked_too() -> None:
    """Two deployments that start at once agree, or the second one says why not."""
    ensure_topics(FakeAdmin(stolen={"clicks": 8}), [CLICKS])
    with pytest.raises(ConfigError, match="has 2 partitions"):
        ensure_topics(FakeAdmin(stolen={"clicks": 2}), [CLICKS])


def test_a_missing_topic_that_may_not_be_made_is_an_error_with_the_command() -> None:
    """The message holds the command for the administrator,
    and the names that are meant by a typo.
    """
    admin = FakeAdmin({"click": 8, "orders": 1, "__click": 1})
    with pytest.raises(
        ConfigError, match="--create --topic clicks --partitions 8 --replication-factor 3"
    ) as caught:
        ensure_topics(admin, [replace(CLICKS, create=False), LETTERS])
    assert "topic clicks does not exist (did you mean click?)" in str(caught.value)
    assert admin.created == []


def test_what_is_done_with_a_topic_has_to_be_allowed() -> None:
    """Clicks are read, letters written; a topic of our own needs no look."""
    admin = FakeAdmin({"clicks": 8, "clicks.dlq": 1})
    ensure_topics(admin, [replace(CLICKS, needs="Read"), LETTERS, Topic(name="new", partitions=1)])
    assert admin.required == [("clicks", "Read"), ("clicks.dlq", "Write")]


@pytest.mark.parametrize(
    ("create", "own_broker", "made"),
    [
        (None, True, ["clicks", "clicks.dlq", "exposures"]),
        (None, False, ["clicks.dlq", "exposures"]),
        (True, False, ["clicks", "clicks.dlq", "exposures"]),
        (False, True, []),
        (False, False, []),
    ],
)
def test_a_broker_of_others_gets_no_clicks_topic_by_itself(
    create: bool | None, own_broker: bool, made: list[str]
) -> None:
    """A misspelt topics.clicks must not become a new topic;
    what EchoRank alone writes may be made.
    """
    settings = Settings(topics=TopicSettings(create=create))
    assert [
        topic.name for topic in for_parts.topics(settings, own_broker=own_broker) if topic.create
    ] == made


def test_exposures_that_are_off_need_no_topic() -> None:
    """What is not written need not be there."""
    settings = Settings(serving=ServingSettings(exposures=False))
    assert [topic.name for topic in for_parts.topics(settings, own_broker=False)] == [
        "clicks",
        "clicks.dlq",
    ]


@pytest.mark.broker
def test_topics_on_a_broker(broker: Broker) -> None:
    """Against a real broker: made once, found again, refused with another number."""
    with KafkaAdmin(KafkaAccess(bootstrap_servers=broker.bootstrap_servers)) as admin:
        topic = Topic(name="topics-test", partitions=3, exact=True)
        assert admin.partitions("topics-test") is None
        ensure_topics(admin, [topic])
        ensure_topics(admin, [topic])
        assert admin.partitions("topics-test") == 3
        assert "topics-test" in admin.names()
        # who may do everything, or is told nothing, is refused nothing
        admin.require("topics-test", "Read")
        assert not admin.create("topics-test", 3, 1)
        with pytest.raises(ConfigError, match="has 3 partitions"):
            ensure_topics(admin, [Topic(name="topics-test", partitions=4, exact=True)])


@dataclass
class FakeSettings:
    """The settings of every topic; none means that the broker does not answer."""

    told: dict[str, str] | None

    def settings(self, topic: str, names: Sequence[str]) -> Mapping[str, str]:
        if self.told is None:
            raise BrokerUnavailable(f"asking for the settings of topic {topic} failed")
        return {name: self.told[name] for name in names if name in self.told}


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({UNCLEAN: "true"}, "topic clicks has unclean.leader.election.enable=true"),
        (None, "is not known: asking for the settings of topic clicks failed"),
        ({UNCLEAN: "false"}, ""),
        ({}, ""),
    ],
)
def test_a_topic_that_kafka_may_cut_off_is_warned_of(
    told: dict[str, str] | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the command that mends it; a broker without an answer stops no start."""
    warn_of_lossy_settings(FakeSettings(told), "clicks")
    assert said in caplog.text
    assert bool(caplog.records) == bool(said)
    assert (
        "--add-config unclean.leader.election.enable=false,min.insync.replicas=2" in caplog.text
    ) == (told == {UNCLEAN: "true"})
