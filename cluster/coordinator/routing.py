"""Who serves what: one immutable table, published as a whole, never changed in place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from actors.serve.buckets import Runs
from actors.serve.traffic import Arm
from actors.shard.roles import Grant, Role
from monitoring.discovery import Target
from rpc import echorank_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A partition at one shard. `address` is empty until the shard's process
    has registered and been granted it.
    """

    shard: str
    epoch: int
    incarnation: int = 0  # of the process that was granted it; the state ends with that process
    address: str = ""  # host:port of the shard's gRPC server
    # heard of within the lease, and close to the end of the log since it was granted
    ready: bool = False
    behind: bool = False  # some arm is behind the front, and is fed apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A partition's owner, and the standby that folds the same log, if there is one."""

    owner: Replica
    standby: Replica | None = None

    def replicas(self) -> Iterator[tuple[Role, Replica]]:
        """The owner, then the standby."""
        yield Role.OWNER, self.owner
        if self.standby is not None:
            yield Role.STANDBY, self.standby

    def replica(self, role: Role) -> Replica | None:
        """The replica in that role; None for a standby that is not there."""
        return self.owner if role is Role.OWNER else self.standby


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTable:
    """Routes by partition, the arms, and where each process shows its metrics."""

    version: int
    routes: tuple[Route, ...]
    arms: tuple[Arm, ...] = ()
    buckets: Runs = ()  # which arm has which users
    targets: tuple[Target, ...] = ()

    @property
    def partitions(self) -> int:
        """How many partitions there are."""
        return len(self.routes)

    def ways(self, partition: int) -> list[str]:
        """host:port of the gRPC servers that may answer, best first:
        of those that are ready, else of all there are.
        """
        replicas = [replica for _, replica in self.routes[partition].replicas() if replica.address]
        return [replica.address for replica in filter(_serves, replicas)] or [
            replica.address for replica in replicas
        ]

    def addresses(self) -> set[str]:
        """host:port of every shard that holds something."""
        return {
            replica.address
            for route in self.routes
            for _, replica in route.replicas()
            if replica.address
        }

    def not_ready(self) -> list[int]:
        """The partitions without a live owner, or with one that is still catching up."""
        return [
            partition for partition, route in enumerate(self.routes) if not _serves(route.owner)
        ]

    def uncovered(self) -> list[int]:
        """The partitions that neither a ready owner nor a ready standby can answer for."""
        return [
            partition
            for partition, route in enumerate(self.routes)
            if not any(_serves(replica) for _, replica in route.replicas())
        ]

    def grants(self, shard: str) -> dict[int, Grant]:
        """What a shard holds, by partition."""
        return {
            partition: Grant(replica.epoch, role)
            for partition, route in enumerate(self.routes)
            for role, replica in route.replicas()
            if replica.shard == shard
        }

    def replicas(self, role: Role) -> dict[int, Replica]:
        """The registered replicas in a role, by partition."""
        found = ((partition, route.replica(role)) for partition, route in enumerate(self.routes))
        return {
            partition: replica
            for partition, replica in found
            if replica is not None and replica.address
        }

    def to_proto(self) -> pb.RoutingResponse:
        """The table for clients that route themselves;
        partitions that nobody answers for are left out.
        """
        return pb.RoutingResponse(
            version=self.version,
            partitions=self.partitions,
            routes=[
                _route(partition, route)
                for partition, route in enumerate(self.routes)
                if any(replica.address for _, replica in route.replicas())
            ],
            arms=[
                pb.ArmInfo(
                    name=arm.name, model_version=arm.model_version, role=arm.role, weight=arm.weight
                )
                for arm in self.arms
            ],
        )


def _serves(replica: Replica) -> bool:
    return bool(replica.address) and replica.ready


def _route(partition: int, route: Route) -> pb.PartitionRoute:
    owner = route.owner
    standby = route.standby
    found = pb.PartitionRoute(
        partition=partition,
        shard=owner.shard,
        address=owner.address,
        epoch=owner.epoch,
        ready=owner.ready,
    )
    if standby is not None:
        found.standby.CopyFrom(
            pb.StandbyRoute(
                shard=standby.shard,
                address=standby.address,
                epoch=standby.epoch,
                ready=standby.ready,
            )
        )
    return found
