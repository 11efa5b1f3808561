"""Calls that gRPC ends by itself, since too many wait to be looked at:
nobody else sees them but their callers.
"""

from __future__ import annotations

import json
from collections import deque

import grpc

# gRPC's own counters: grpcio offers them to grpcio-channelz alone, which wraps these two functions
# for clients over a socket.
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from monitoring.metrics import Metrics

ROUNDS = 3  # after so many, a call that began waits in gRPC's queue, was looked at, or has ended
HANDED_OVER = 8  # out of the queue, on their way to be looked at
METHOD = "unread"  # gRPC does not say which method they asked for


def server_ids() -> set[int]:
    """The gRPC servers of this process, by channelz's numbers."""
    return {
        int(server["ref"]["serverId"])
        for server in json.loads(cygrpc.channelz_get_servers(0)).get("server", ())
    }


class UnreadCalls:
    """Counts them as CANCELLED, which is what their callers see: calls that began,
    less those that were looked at.

    Some of the difference may still be waiting: `waiting_max` in gRPC's queue and a few behind it
    at the most, and any number before it, on a busy machine. So of those that began ROUNDS ago,
    what is beyond the queue has ended for sure; all have after ROUNDS in which nothing began and
    nothing was looked at.
    """

    def __init__(self, metrics: Metrics, server_id: int, waiting_max: int) -> None:
        self._counter = metrics.requests_total.labels(METHOD, grpc.StatusCode.CANCELLED.name)
        self._server_id = server_id
        self._waiting_max = waiting_max + HANDED_OVER
        self._looks = deque([(0, 0)] * (ROUNDS + 1), maxlen=ROUNDS + 1)
        self._counted = 0

    def look(self, seen: int) -> None:
        """Count those that ended since the last look;
        `seen` is how many calls were looked at so far.
        """
        found = json.loads(cygrpc.channelz_get_server(self._server_id))
        self._looks.append((int(found["server"]["data"].get("callsStarted", 0)), seen))
        began, _ = self._looks[0]
        waiting = 0 if len(set(self._looks)) == 1 else self._waiting_max
        ended = max(self._counted, began - seen - waiting)
        self._counter.inc(ended - self._counted)
        self._counted = ended
