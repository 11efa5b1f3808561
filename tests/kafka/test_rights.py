"""A broker that asks who one is: users without rights,
and wrong passwords, are told what is wrong.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

from actors.errors import BrokerUnavailable, ConfigError
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin
from cluster.kafka.topics import Topic, ensure_topics
from tests.conftest import kafka_home
from tests.kafka.cluster_of_brokers import ClusterOfBrokers

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]

# Whoever comes directly may do everything; behind the proxy one needs a name and rights.
RIGHTS = """\
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.proxied.plain.sasl.jaas.config=\
  org.apache.kafka.common.security.plain.PlainLoginModule required \
  user_ann="@nn#";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
numbers = itertools.count()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfBrokers]:
    """A broker that knows ann, who may do nothing yet."""
    if (home := kafka_home()) is None:
        pytest.skip("needs an Apache Kafka: set KAFKA_HOME")
    with ClusterOfBrokers(
        Path(home), tmp_path_factory.mktemp("guarded"), nodes=1, extra=RIGHTS
    ) as broker:
        yield broker


def as_ann(broker: ClusterOfBrokers, **changes: str) -> KafkaAccess:
    """Ann's way to the broker."""
    options = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
    options |= {"sasl_username": "ann", "sasl_password": "@nn#"} | changes
    return KafkaAccess(bootstrap_servers=broker.proxied, connect_timeout_s=2.0, **options)  # type: ignore[arg-type]


def topic_with_rights(broker: ClusterOfBrokers, *operations: ACLOperation) -> Topic:
    """A new topic with which ann may do this."""
    name = f"guarded-{next(numbers)}"
    with closing(KafkaAdminClient(**broker.access().options())) as admin:
        admin.create_topics(
            {name: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True
        )
        pattern = ResourcePattern(ResourceType.TOPIC, name)
        for operation in operations:
            admin.create_acls([ACL("User:ann", "*", operation, ACLPermissionType.ALLOW, pattern)])
    return Topic(name=name, partitions=1, create=False)


def refusal(access: KafkaAccess, *topics: Topic) -> str:
    """What a start says."""
    with pytest.raises(BrokerUnavailable) as caught, KafkaAdmin(access) as admin:
        ensure_topics(admin, topics)
    return str(caught.value)


@pytest.mark.parametrize(
    ("rights", "needs", "missing"),
    [
        ([], "Read", "Describe"),
        ([ACLOperation.DESCRIBE], "Read", "Read"),
        ([ACLOperation.READ], "Write", "Write"),
        ([ACLOperation.DESCRIBE], "Write", "Write"),
    ],
)
def test_a_missing_right_is_named_at_once(
    guarded: ClusterOfBrokers, rights: list[ACLOperation], needs: str, missing: str
) -> None:
    """A topic that may not be described does not count as missing;
    the command that grants the right is there.
    """
    topic = topic_with_rights(guarded, *rights)
    message = refusal(
        as_ann(guarded), Topic(name=topic.name, partitions=1, needs=needs, create=False)
    )  # type: ignore[arg-type]
    assert f"user 'ann' (PLAIN) may not {missing.lower()} topic {topic.name} at " in message
    assert f"--add --allow-principal User:ann --operation {missing} --topic {topic.name}" in message
    assert "does not exist" not in message


def test_enough_rights_are_enough(guarded: ClusterOfBrokers) -> None:
    """Read for clicks, Write for letters; Describe comes with either."""
    clicks = topic_with_rights(guarded, ACLOperation.READ)
    letters = topic_with_rights(guarded, ACLOperation.WRITE)
    with KafkaAdmin(as_ann(guarded)) as admin:
        ensure_topics(
            admin, [Topic(name=clicks.name, partitions=1, needs="Read", create=False), letters]
        )


def test_a_topic_that_may_not_be_made_says_so(guarded: ClusterOfBrokers) -> None:
    """Whether it is there is not told without Describe; with it, making it is what is refused."""
    message = refusal(as_ann(guarded), Topic(name="guarded-nowhere", partitions=1))
    assert "user 'ann' (PLAIN) may not describe topic guarded-nowhere" in message
    with pytest.raises(BrokerUnavailable) as caught, KafkaAdmin(as_ann(guarded)) as admin:
        admin.create("guarded-new", 1, 1)
    assert "creating topic guarded-new" in str(caught.value)
    assert "is not allowed to user 'ann' (PLAIN)" in str(caught.value)
    assert "CreateTopicsRequest" not in str(caught.value)


def test_a_missing_topic_is_missing_for_who_may_see_it(guarded: ClusterOfBrokers) -> None:
    """The names of those that are there are compared."""
    topic = topic_with_rights(guarded)
    with (
        KafkaAdmin(guarded.access()) as admin,
        pytest.raises(ConfigError, match="did you mean") as caught,
    ):
        ensure_topics(admin, [Topic(name=f"{topic.name}x", partitions=1, create=False)])
    assert topic.name in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sasl_password": "s3cret"}, "user 'ann' (PLAIN)"),
        ({"sasl_username": "bob"}, "user 'bob' (PLAIN)"),
        (
            {"security_protocol": "PLAINTEXT"},
            "wants TLS or SASL; check kafka.security_protocol (PLAINTEXT)",
        ),
    ],
)
def test_a_refused_connection_says_why(
    guarded: ClusterOfBrokers, changes: dict[str, str], said: str
) -> None:
    """A wrong password is no unreachable broker, and is not shown."""
    message = refusal(as_ann(guarded, **changes))
    assert said in message
    assert "s3cret" not in message
