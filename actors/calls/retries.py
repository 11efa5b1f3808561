"""How clients try again: how long they are told to wait, and which of their tries is the last.

gRPC makes at most five tries of a call, and without a word from the server waits a random time
between them. A shard without a standby restarts within a few seconds; so the server says how long
to wait, and the tries cover that.
"""

from __future__ import annotations

from typing import Protocol

PUSHBACK = "grpc-retry-pushback-ms"  # a trailer: when to try again; negative: never
TRIES = "grpc-previous-rpc-attempts"  # metadata of a call that gRPC tries again
WAITS_MS = (100, 400, 1500, 2500)  # 4.5 s in all
NEVER = ((PUSHBACK, "-1"),)


class Tried(Protocol):
    """The part of a gRPC context that knows the caller's metadata."""

    def invocation_metadata(self) -> object:
        """Pairs of key and value."""


def tries_before(call: Tried) -> int:
    """How often the client has tried this call before; 0 for the first time."""
    pairs: object = call.invocation_metadata() or ()
    given = str(dict(pairs).get(TRIES, "0"))  # type: ignore[call-overload]  # gRPC's own type is any iterable of pairs
    return int(given) if given.isdecimal() and len(given) < 4 else 0


def is_last(call: Tried) -> bool:
    """Whether gRPC will not try this call again."""
    return tries_before(call) >= len(WAITS_MS)


def pushback(call: Tried) -> tuple[tuple[str, str], ...]:
    """What tells the client when to try again."""
    tried = tries_before(call)
    return ((PUSHBACK, str(WAITS_MS[tried])),) if tried < len(WAITS_MS) else ()
