"""Where Prometheus finds the processes:
the JSON of its HTTP service discovery (`http_sd_configs`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

ActorKind = Literal["gateway", "ingest", "shard", "coordinator", "archive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One process with a metrics endpoint:
    `name` is unique and survives restarts, `address` does not.
    """

    kind: ActorKind
    name: str
    address: str  # host:port


def to_http_sd(targets: Iterable[Target]) -> bytes:
    """The targets as Prometheus reads them, in the order of their names.

    `instance` is the actor's name and not its address, so that a restart elsewhere continues the
    series. `shard` is set for shards only; `__meta_echorank_address` is there for relabelling and
    is not stored.
    """
    return json.dumps([_group(target) for target in sorted(targets, key=lambda t: t.name)]).encode()


def _group(target: Target) -> dict[str, object]:
    labels = {
        "__meta_echorank_address": target.address,
        "actor": target.kind,
        "instance": target.name,
    }
    if target.kind == "shard":
        labels["shard"] = target.name
    return {"targets": [target.address], "labels": labels}
