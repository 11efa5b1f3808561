from __future__ import annotations

import socket

import pytest

from monitoring.addresses import checked, family_of, joined, reachable


@pytest.mark.parametrize(
    ("host", "text", "near"),
    [
        ("127.0.0.1", "127.0.0.1:7000", "127.0.0.1:7000"),
        ("gateway", "gateway:7000", "gateway:7000"),
        ("::1", "[::1]:7000", "[::1]:7000"),
        ("[::1]", "[::1]:7000", "[::1]:7000"),
        ("fe80::1%eth0", "[fe80::1%eth0]:7000", "[fe80::1%eth0]:7000"),
        ("0.0.0.0", "0.0.0.0:7000", "127.0.0.1:7000"),
        ("::", "[::]:7000", "[::1]:7000"),
        ("[::]", "[::]:7000", "[::1]:7000"),
    ],
)
def test_an_ipv6_host_stands_in_brackets(host: str, text: str, near: str) -> None:
    """As URLs and gRPC want it; a server on all addresses is reached at this machine's own."""
    assert (joined(host, 7000), reachable(host, 7000)) == (text, near)
    assert checked(text) == text


@pytest.mark.parametrize(
    "address", ["dns:///gateway:50051", "ipv6:[::1]:50051", "unix:/run/echorank.sock"]
)
def test_names_of_grpc_are_taken(address: str) -> None:
    """They say themselves how to be read."""
    assert checked(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "foo",
        "::1:50051",
        "::1",
        "[::1]",
        "[::1:50051",
        ":50051",
        "http://gateway:50051",
        "https://[::1]:1",
    ],
)
@pytest.mark.parametrize("more", ["", "/", ":port", ":0", ":70000", " :1"])
def test_anything_else_is_refused_with_an_example(address: str, more: str) -> None:
    """Before gRPC sees it, which guesses, waits or raises something of its own."""
    with pytest.raises(ValueError, match=r"no host:port; write it like gateway:50051 or"):
        checked(address + more)


def test_the_family_is_that_of_the_host() -> None:
    """IPv6 for an IPv6 host only; a name keeps IPv4 where it has both."""
    families = {
        host: family_of(host) for host in ("127.0.0.1", "0.0.0.0", "localhost", "::", "[::1]")
    }
    assert [host for host, family in families.items() if family is socket.AF_INET6] == [
        "::",
        "[::1]",
    ]
