"""Ports for what starts to listen a while after its port was chosen, as a broker does."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from actors.errors import ConfigError
from monitoring.addresses import bare, family_of

HOST = "127.0.0.1"
RAY_UP_TO = 19_999  # its workers listen from 10,002 on
LENT = Path("/proc/sys/net/ipv4/ip_local_port_range")
LENT_FROM = 32_768  # Linux's default; other systems lend higher ones


def choose_port(wanted: int | None) -> int:
    """`wanted` if it is free, or any free port.

    Raises:
        ConfigError: somebody listens on `wanted` already.
    """
    if wanted is None:
        return free_port()
    if reason := _why_not(wanted):
        raise ConfigError(
            f"the broker's port {wanted} on {HOST} cannot be used ({reason}); stop what listens "
            "there, choose another port, or set kafka.bootstrap_servers to use that broker"
        )
    return wanted


def free_port() -> int:
    """A port on which nobody listens,
    and which neither Ray nor the kernel gives to anybody meanwhile.

    A port from bind(0) is one that the kernel lends to connections: until somebody listens on it,
    it may be gone.

    Raises:
        ConfigError: all of them are in use.
    """
    ports = range(RAY_UP_TO + 1, lent_from())
    for port in random.SystemRandom().sample(ports, len(ports)):
        if not _why_not(port):
            return port
    raise ConfigError(
        f"no port from {ports.start} to {ports.stop - 1} on {HOST} is free; stop what listens there"
    )


def check_free(section: str, host: str, port: int) -> None:
    """Raise ConfigError if a server of that section of the settings could not listen there."""
    with socket.socket(family_of(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bare(host), port))
        except OSError as error:
            raise ConfigError(
                f"{section}.port {port} on {host} cannot be used ({error.strerror}); stop what "
                f"listens there, or set {section}.port or ECHORANK__{section.upper()}__PORT to "
                "another port"
            ) from error


def lent_from() -> int:
    """The first port that the kernel lends to connections;
    what is usual if that is no more than Ray's last.
    """
    try:
        first = int(LENT.read_text().split()[0])
    except OSError:  # not Linux
        return LENT_FROM
    return first if first > RAY_UP_TO + 1 else LENT_FROM


def _why_not(port: int) -> str | None:
    """What keeps from listening there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.strerror
    return None
