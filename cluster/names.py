"""Names of the actors: all that calls one, and all that starts one, must agree on them."""

from __future__ import annotations

import re

COORDINATOR = "coordinator"
GATEWAY = "gateway"
ARCHIVE = "archive"
SHARD = re.compile(r"shard-\d+")


def ingest_name(number: int) -> str:
    """Name of an ingest, as an actor."""
    return f"ingest-{number}"


def shard_name(number: int) -> str:
    """Name of a shard, as an actor and in the routing table."""
    return f"shard-{number}"
