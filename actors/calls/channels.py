"""gRPC channels, all made here: none goes through a proxy that the
environment names for the outside world.
"""

from __future__ import annotations

from typing import Protocol

import grpc

from actors.errors import ConfigError
from monitoring.addresses import checked

DIRECT = ("grpc.enable_http_proxy", 0)
Option = tuple[str, str | int]


class OpenChannel(Protocol):
    """Makes a channel; `channel`, or what stands in for it."""

    def __call__(self, address: str, *options: Option) -> grpc.aio.Channel:
        """A channel to host:port."""
        ...


def channel(address: str, *options: Option) -> grpc.aio.Channel:
    """A channel to host:port for one event loop; ConfigError if it is no such thing."""
    return grpc.aio.insecure_channel(_checked(address), options=[DIRECT, *options])


def blocking_channel(address: str) -> grpc.Channel:
    """A channel to host:port for a thread; ConfigError if it is no such thing."""
    return grpc.insecure_channel(_checked(address), options=[DIRECT])


def _checked(address: str) -> str:
    try:
        return checked(address)
    except ValueError as error:
        raise ConfigError(f"the address {error}") from None
