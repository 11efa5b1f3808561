"""What is said when no broker is found: the cause that the client only logs, and what to check."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator

import pytest
from kafka.errors import KafkaTimeoutError, TopicAuthorizationFailedError

from actors.errors import BrokerUnavailable
from cluster.broker.free_port import free_port
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin
from cluster.kafka.errors import FailedTries, failure

SASL = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-256", "sasl_username": "ann"}


@pytest.fixture
def hangs_up() -> Iterator[str]:
    """The address of a server that takes a connection and closes it,
    as brokers do with who speaks otherwise.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def refusal(access: KafkaAccess) -> str:
    """What connecting says."""
    with pytest.raises(BrokerUnavailable) as caught:
        KafkaAdmin(access)
    return str(caught.value)


def test_the_cause_of_a_failed_connection_is_in_the_message(hangs_up: str) -> None:
    """Nobody there, no such host, and a broker that speaks another protocol are told apart."""
    for servers, said in (
        (f"127.0.0.1:{free_port()}", "nothing listens there"),
        ("no-such-host.invalid:9092", "no address is known for a host"),
        (hangs_up, "the broker hung up, as one does that wants TLS or SASL"),
    ):
        message = refusal(KafkaAccess(bootstrap_servers=servers, connect_timeout_s=0.5))
        assert f"connecting at {servers} failed: " in message
        assert said in message


@pytest.mark.parametrize(
    ("tries", "said"),
    [
        (
            ["socket disconnected", "[Error 33] UnsupportedSaslMechanismError"],
            "not take kafka.sasl_mechanism SCRAM",
        ),
        (["[Errno 104] Connection reset by peer"], "the broker hung up"),
        (
            ["socket disconnected"],
            "as it does on a wrong name or password of user 'ann' (SCRAM-SHA-256)",
        ),
        (
            ["[Error 58] SaslAuthenticationFailedError: Invalid credentials"],
            "the broker refuses user 'ann'",
        ),
        (
            ["Handshake failed: [SSL: CERTIFICATE_VERIFY_FAILED] self-signed"],
            "kafka.ssl_cafile is the PEM file",
        ),
        (["Handshake failed: [SSL: WRONG_VERSION_NUMBER]"], "no TLS of ours is spoken there"),
        (
            ["[Error 7] RequestTimedOutError: timed out after 18 ms", "111 ECONNREFUSED"],
            "nothing listens there",
        ),
        ([], "Check that the broker runs"),
    ],
)
def test_the_most_telling_cause_counts(tries: list[str], said: str) -> None:
    """Each has its advice; without any, the message says what to check in general."""
    access = KafkaAccess(bootstrap_servers="a:1", **SASL)  # type: ignore[arg-type]
    message = failure(KafkaTimeoutError("Unable to bootstrap"), access, "connecting", tries)
    assert message.startswith("connecting at a:1 failed: ")
    assert said in message


def test_a_right_that_is_missing_names_the_user_and_no_request() -> None:
    """kafka-python's own text holds the whole request."""
    access = KafkaAccess(bootstrap_servers="a:1", **SASL)  # type: ignore[arg-type]
    error = TopicAuthorizationFailedError("Request 'CreateTopicsRequest(...)' failed")
    assert failure(error, access, "creating topic x") == (
        "creating topic x at a:1 is not allowed to user 'ann' (SCRAM-SHA-256) "
        "(TopicAuthorizationFailedError); grant it by kafka-acls.sh --add"
    )


def test_reasons_are_collected_once_and_only_while_asked() -> None:
    """The client logs the same reason with every try."""
    logger = logging.getLogger("kafka.net.manager")
    with FailedTries() as tries:
        for backoff in ("0.05", "0.11"):
            logger.error(
                (
                    "Bootstrap attempt to bootstrap-0 failed: KafkaConnectionError: x (backoff %s "
                    "secs)"
                ),
                backoff,
            )
        logger.error("Connection failed: %s", "y")
    logger.error("Connection failed: %s", "z")
    assert tries.causes == ["KafkaConnectionError: x", "y"]
