"""The Admin service: operations on a running system, answered beside the gateway."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

import grpc

from actors.calls.interceptor import Context
from actors.errors import InvalidRequest, NotOwner, ShardUnavailable, Unauthenticated
from actors.shard.held import Fingerprint
from cluster.coordinator.coordinator import Progress
from cluster.coordinator.ports import CoordinatorForOperators
from cluster.coordinator.routing import RoutingTable
from rpc import echorank_pb2 as pb
from rpc import echorank_pb2_grpc as pb_grpc

ASK_S = 0.2  # between looks at how far the shards are


class Replicas(Protocol):
    """The shards, as far as operators need them;
    each method raises ShardUnavailable or NotOwner: ask again.
    """

    async def snapshot(self, shard: str, partitions: Sequence[int]) -> dict[int, int]:
        """Save these partitions, which the shard owns; the offsets that snapshots cover."""
        ...

    async def fingerprints(self, shard: str, partition: int) -> dict[str, Fingerprint]:
        """Position and digest of each arm."""
        ...


class Admin(pb_grpc.AdminServicer):
    """Asks coordinator and shards on behalf of operators who know `token`;
    without a token, of everybody.
    """

    def __init__(
        self,
        *,
        coordinator: CoordinatorForOperators,
        replicas: Replicas,
        table: Callable[[], RoutingTable | None],
        erase: Callable[[str], Awaitable[pb.EraseReceipt]],
        token: str | None,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._coordinator = coordinator
        self._replicas = replicas
        self._table = table
        self._erase = erase
        self._token = token
        self._wait = wait

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service."""
        pb_grpc.add_AdminServicer_to_server(self, server)  # type: ignore[no-untyped-call]  # generated

    async def Scale(  # noqa: N802
        self, request: pb.ScaleRequest, context: Context
    ) -> AsyncIterator[pb.ScaleProgress]:
        """Change the number of shards;
        it goes on when the caller has gone, and asking again joins in.
        """
        self._check(context)
        async for step in self._until_done(await self._coordinator.scale(request.shards)):
            yield step

    async def Drain(  # noqa: N802
        self, request: pb.DrainRequest, context: Context
    ) -> AsyncIterator[pb.ScaleProgress]:
        """Empty one shard; as for Scale."""
        self._check(context)
        try:
            progress = await self._coordinator.drain(request.shard)
        except NotOwner as error:
            raise InvalidRequest("shard", str(error)) from error
        async for step in self._until_done(progress):
            yield step

    async def Snapshot(self, request: pb.SnapshotRequest, context: Context) -> pb.SnapshotResponse:  # noqa: N802
        """Let the owners save their partitions, all shards at once."""
        self._check(context)
        table = self._known_table()
        by_owner: dict[str, list[int]] = {}
        for partition in sorted(set(request.partitions)) or range(table.partitions):
            _check_partition("partitions", partition, table)
            by_owner.setdefault(table.routes[partition].owner.shard, []).append(partition)
        saved = await asyncio.gather(*(self._replicas.snapshot(*each) for each in by_owner.items()))
        durable = {partition: offset for offsets in saved for partition, offset in offsets.items()}
        return pb.SnapshotResponse(durable=durable)

    async def Digest(self, request: pb.DigestRequest, context: Context) -> pb.DigestResponse:  # noqa: N802
        """Ask owner and standby; where their positions are equal, so must be their digests."""
        self._check(context)
        table = self._known_table()
        _check_partition("partition", request.partition, table)
        replicas = list(table.routes[request.partition].replicas())
        asked = (
            self._replicas.fingerprints(replica.shard, request.partition) for _, replica in replicas
        )
        found = await asyncio.gather(*asked)
        return pb.DigestResponse(
            replicas=[
                pb.ReplicaDigest(
                    shard=replica.shard,
                    role=role.name,
                    arm=arm,
                    position=state.position,
                    digest=state.digest,
                )
                for (role, replica), arms in zip(replicas, found, strict=True)
                for arm, state in sorted(arms.items())
            ]
        )

    async def Erase(self, request: pb.EraseRequest, context: Context) -> pb.EraseReceipt:  # noqa: N802
        """Remove a user from every place."""
        self._check(context)
        return await self._erase(request.user)

    async def _until_done(self, progress: Progress) -> AsyncIterator[pb.ScaleProgress]:
        """A message for each change, the last one `done`."""
        yield _message(progress)
        while progress.waiting_for:
            await self._wait(ASK_S)
            before = progress
            progress = await self._coordinator.progress()
            if progress != before:
                yield _message(progress)

    def _check(self, context: Any) -> None:
        if self._token is None:
            return
        given = str(dict(context.invocation_metadata() or ()).get("authorization", ""))
        if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            raise Unauthenticated(
                "admin calls need the metadata `authorization: Bearer TOKEN` with the value of "
                "serving.admin_token; give it by --token, or set ECHORANK__SERVING__ADMIN_TOKEN"
            )

    def _known_table(self) -> RoutingTable:
        if (table := self._table()) is None:
            raise ShardUnavailable(
                "the gateway has no routing table yet; retry when the health check says SERVING"
            )
        return table


def _check_partition(field: str, partition: int, table: RoutingTable) -> None:
    if not 0 <= partition < table.partitions:
        raise InvalidRequest(
            field, f"there is no partition {partition}; ask for 0 to {table.partitions - 1}"
        )


def _message(progress: Progress) -> pb.ScaleProgress:
    return pb.ScaleProgress(
        shards_now=progress.shards_now,
        shards_wanted=progress.shards_wanted,
        partitions_to_move=progress.to_move,
        done=not progress.waiting_for,
        message=progress.waiting_for or "done",
    )
