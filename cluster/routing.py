"""Who serves what: one immutable table, published as a whole, never changed in place."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from actors.traffic import Arm
from monitoring.discovery import Target
from rpc import echorank_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A partition's owner. `address` is empty until the owner has registered in this run."""

    shard: str
    epoch: int
    address: str = ""  # host:port of the shard's gRPC server
    ready: bool = False  # the owner has come close to the end of the log since it registered


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTable:
    """Routes by partition, the arms, and where each process shows its metrics."""

    version: int
    routes: tuple[Route, ...]
    arms: tuple[Arm, ...] = ()
    targets: tuple[Target, ...] = ()

    @property
    def partitions(self) -> int:
        """How many partitions there are."""
        return len(self.routes)

    def address_of(self, partition: int) -> str:
        """host:port of the owner's gRPC server; empty without a registered owner."""
        return self.routes[partition].address

    def addresses(self) -> set[str]:
        """host:port of every registered shard."""
        return {route.address for route in self.routes if route.address}

    def not_ready(self) -> list[int]:
        """The partitions that have no registered owner, or one that is still catching up."""
        return [partition for partition, route in enumerate(self.routes) if not (route.address and route.ready)]

    def epochs(self, shard: str) -> dict[int, int]:
        """The partitions of a shard, each with its epoch."""
        return {partition: route.epoch for partition, route in enumerate(self.routes) if route.shard == shard}

    def to_proto(self) -> pb.RoutingResponse:
        """The table for clients that route themselves; partitions without a registered owner are left out."""
        return pb.RoutingResponse(
            version=self.version,
            partitions=self.partitions,
            routes=[
                pb.PartitionRoute(partition=partition, shard=route.shard, address=route.address, epoch=route.epoch)
                for partition, route in enumerate(self.routes)
                if route.address
            ],
            arms=[
                pb.ArmInfo(name=arm.name, model_version=arm.model_version, role=arm.role, weight=arm.weight)
                for arm in self.arms
            ],
        )

    def to_json(self) -> str:
        """Everything, readable by people and by `from_json`."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> RoutingTable:
        """The table that `to_json` wrote; ValueError, KeyError or TypeError for anything else."""
        values = json.loads(text)
        return cls(
            version=values["version"],
            routes=tuple(Route(**route) for route in values["routes"]),
            arms=tuple(Arm(**arm) for arm in values["arms"]),
            targets=tuple(Target(**target) for target in values["targets"]),
        )
