"""Calls that gRPC ends by itself, since too many wait to be looked at:
nobody else sees them but their callers.
"""

from __future__ import annotations

import json

import grpc

# gRPC's own counters: grpcio offers them to grpcio-channelz alone, which wraps these two functions
# for clients over a socket.
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from monitoring.metrics import Metrics

QUIET_ROUNDS = 3
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

    Some of the difference may still be waiting, `waiting_max` at the most. So what is beyond that
    has ended for sure, and all of it has after QUIET_ROUNDS in which nothing began and nothing was
    looked at: on a busy machine one call may wait for longer than a round.
    """

    def __init__(self, metrics: Metrics, server_id: int, waiting_max: int) -> None:
        self._counter = metrics.requests_total.labels(METHOD, grpc.StatusCode.CANCELLED.name)
        self._server_id = server_id
        self._waiting_max = waiting_max
        self._before = (0, 0)
        self._quiet_rounds = 0
        self._counted = 0

    def look(self, seen: int) -> None:
        """Count those that ended since the last look;
        `seen` is how many calls were looked at so far.
        """
        found = json.loads(cygrpc.channelz_get_server(self._server_id))
        now = int(found["server"]["data"].get("callsStarted", 0)), seen
        self._quiet_rounds = self._quiet_rounds + 1 if now == self._before else 0
        waiting = 0 if self._quiet_rounds >= QUIET_ROUNDS else self._waiting_max
        ended = max(self._counted, now[0] - seen - waiting)
        self._counter.inc(ended - self._counted)
        self._counted = ended
        self._before = now
