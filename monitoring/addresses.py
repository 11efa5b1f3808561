"""Addresses as text: host:port, an IPv6 host in brackets, as gRPC,
HTTP and Prometheus read them.
"""

from __future__ import annotations

import re
import socket

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 (compared with, never bound)
ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s\[\]:/]+):(\d{1,5})")
SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:")  # gRPC's own ways to name a server


def bare(host: str) -> str:
    """A host as sockets take it, without brackets."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def joined(host: str, port: int) -> str:
    """host:port, with brackets around an IPv6 host."""
    host = bare(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable(host: str, port: int) -> str:
    """host:port to connect to, on this machine, for a server that listens on `host`,
    which may mean all addresses.
    """
    return joined(WILDCARDS.get(bare(host), host), port)


def checked(address: str) -> str:
    """`address` as it is, which gRPC can connect to; ValueError,
    with what to write, for anything else.
    """
    if address.startswith(SCHEMES):
        return address
    found = ADDRESS.fullmatch(address)
    if not found or not 0 < int(found[2]) < 65_536:
        raise ValueError(
            f"{address!r} is no host:port; write it like gateway:50051 or, with an IPv6 host, "
            "[::1]:50051, and without http:// before it"
        )
    return address


def family_of(host: str) -> socket.AddressFamily:
    """IPv4 where the host has such an address, else IPv6."""
    host = bare(host)
    if ":" in host:
        return socket.AF_INET6
    try:
        families = {
            each[0] for each in socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM)
        }
    except OSError:
        return socket.AF_INET  # whoever binds it hears why not
    return socket.AF_INET6 if families == {socket.AF_INET6} else socket.AF_INET
