"""What kafka-python's errors mean for whoever set addresses and rights:
the cause, and what to do about it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from kafka.errors import AuthorizationError, KafkaError

from cluster.kafka.access import KafkaAccess

# A client that finds no broker raises a timeout; why each try failed it only logs.
FAILED_TRY = re.compile(
    r"(?:Connection (?:failed|lost)|SaslHandshake failed|Bootstrap attempt to \S+ failed): (.+)"
)
# The first one that fits any of the tries is the most telling one.
MEANINGS = (
    ("UnsupportedSaslMechanism", "the broker does not take kafka.sasl_mechanism {mechanism}"),
    (
        "Authentication",
        "the broker refuses {user}; check kafka.sasl_username and kafka.sasl_password",
    ),
    (
        "CERTIFICATE_VERIFY",
        (
            "its certificate is not trusted; kafka.ssl_cafile is the PEM file of the authority to "
            "trust"
        ),
    ),
    (
        "SSL|Handshake failed",
        "no TLS of ours is spoken there; check port and kafka.security_protocol ({protocol})",
    ),
    ("DNS", "no address is known for a host; check the names and the resolver"),
    ("ECONNREFUSED|refused", "nothing listens there; check that the broker runs, and the port"),
    ("disconnected|ECONNRESET|reset by peer|[Bb]roken pipe", "the broker hung up, {hung_up}"),
    ("[Tt]imed out|Timeout", "nobody answers; check the addresses, and firewalls on the way"),
)


class FailedTries(logging.Handler):
    """Collects, while it is entered, why connecting failed; each reason once."""

    def __init__(self) -> None:
        super().__init__()
        self.causes: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the reason, if this is one."""
        found = FAILED_TRY.search(record.getMessage())
        if found and (cause := re.sub(r" \(backoff [^)]*\)$", "", found[1])) not in self.causes:
            self.causes.append(cause)

    def __enter__(self) -> Self:
        logging.getLogger("kafka.net").addHandler(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        logging.getLogger("kafka.net").removeHandler(self)


def failure(error: KafkaError, access: KafkaAccess, doing: str, tries: Sequence[str] = ()) -> str:
    """What failed, why, and what to check; `tries` are the reasons that the client logged."""
    where = f"{doing} at {access.bootstrap_servers}"
    if isinstance(error, AuthorizationError):
        return (
            f"{where} is not allowed to {user(access)} ({type(error).__name__}); grant it by "
            "kafka-acls.sh --add"
        )
    for pattern, meaning in MEANINGS:
        for cause in tries:
            if re.search(pattern, cause):
                return f"{where} failed: {cause}: {_filled(meaning, access)}"
    return (
        f"{where} failed: {type(error).__name__}: {error}. Check that the broker runs, that "
        "kafka.bootstrap_servers is its advertised address, and kafka.security_protocol "
        f"({access.security_protocol})"
    )


def may_not(access: KafkaAccess, operation: str, topic: str) -> str:
    """What a user may not do with a topic, and the command that permits it."""
    return (
        f"{user(access)} may not {operation.lower()} topic {topic} at {access.bootstrap_servers}; "
        f"grant it: kafka-acls.sh --bootstrap-server {access.bootstrap_servers} --add "
        f"--allow-principal User:{access.sasl_username or 'NAME'} --operation {operation} --topic "
        f"{topic}"
    )


def user(access: KafkaAccess) -> str:
    """Who the broker takes us for."""
    if access.security_protocol.startswith("SASL"):
        return f"user {access.sasl_username!r} ({access.sasl_mechanism})"
    return (
        "a user without a name"
        if access.security_protocol == "PLAINTEXT"
        else "the certificate's user"
    )


def _filled(meaning: str, access: KafkaAccess) -> str:
    if access.security_protocol.startswith("SASL"):
        hung_up = (
            f"as it does on a wrong name or password of {user(access)}; check both, and the port"
        )
    else:
        hung_up = (
            "as one does that wants TLS or SASL; check kafka.security_protocol "
            f"({access.security_protocol})"
        )
    return meaning.format(
        mechanism=access.sasl_mechanism,
        protocol=access.security_protocol,
        user=user(access),
        hung_up=hung_up,
    )
