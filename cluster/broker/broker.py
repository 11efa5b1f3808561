"""The broker: the one that is configured,
else an Apache Kafka from KAFKA_HOME, else an embedded one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from cluster.broker.apache_kafka import start_apache
from cluster.broker.embedded_broker import start_embedded
from cluster.broker.process import BrokerProcess
from cluster.kafka.access import KafkaAccess
from cluster.kafka.clients import KafkaAdmin

Kind = Literal["external", "apache", "embedded"]


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that answers; a context manager that stops it if it was started here."""

    bootstrap_servers: str
    kind: Kind
    process: BrokerProcess | None = field(default=None, repr=False)  # None for an external one

    def stop(self) -> None:
        """Stop the broker if it was started here; more than once does no harm."""
        if self.process is not None:
            self.process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def resolve(
    access: KafkaAccess | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    directory: Path | None = None,
    port: int | None = None,
) -> Broker:
    """Find or start a broker and wait until it answers.

    1. `access`, if given, names an external broker: it only has to answer.
    2. KAFKA_HOME in `environ`: an Apache Kafka of its own, one node in KRaft mode. Its data lives
       in `directory` and survives a restart; without a directory it lives in a temporary one and
       goes with the broker.
    3. Otherwise the embedded broker, which holds everything in memory: its data does not outlive
       its process.

    A started broker listens on 127.0.0.1, on `port` or a free one, and dies with this process, even
    if that is killed (for which `resolve` has to be called from the main thread).

    Raises:
        BrokerUnavailable: the external broker does not answer, or a started one ends or keeps
            silent.
        ConfigError: the port is taken, KAFKA_HOME holds no Kafka, or Java or the embedded broker is
            missing.
    """
    if access is not None:
        with KafkaAdmin(access):
            return Broker(access.bootstrap_servers, "external")
    if home := environ.get("KAFKA_HOME"):
        return Broker(*start_apache(Path(home), environ, directory=directory, port=port))
    return Broker(*start_embedded(environ, port=port))
