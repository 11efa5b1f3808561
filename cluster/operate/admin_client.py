"""A client of the Admin service, as the command line uses it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self

from actors.calls.channels import channel
from cluster.operate.client import reach
from rpc import echorank_pb2 as pb
from rpc import echorank_pb2_grpc as pb_grpc

SNAPSHOT_S = 600.0  # writing every state takes as long as the disk takes
DIGEST_S = 60.0
REACH_S = 5.0
ERASE_S = 6 * 3600.0  # the whole archive is looked through, and what held the user is written anew


class AdminClient:
    """Asks one gateway; use it as `async with AdminClient(address) as admin`.

    Where nothing listens, that raises ShardUnavailable. What fails later raises
    grpc.aio.AioRpcError. Nothing is retried, for every call may be asked again by hand.
    """

    def __init__(self, address: str, *, token: str | None = None) -> None:
        self.address = address
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._channel = channel(address)
        self._stub = pb_grpc.AdminStub(self._channel)  # type: ignore[no-untyped-call]  # generated

    def scale(self, shards: int) -> AsyncIterator[pb.ScaleProgress]:
        """Ask for so many shards; progress until that is reached. Leaving early changes nothing."""
        steps: AsyncIterator[pb.ScaleProgress] = self._stub.Scale(
            pb.ScaleRequest(shards=shards), metadata=self._metadata
        )
        return steps

    def drain(self, shard: str) -> AsyncIterator[pb.ScaleProgress]:
        """Ask for an empty shard; progress until it is."""
        steps: AsyncIterator[pb.ScaleProgress] = self._stub.Drain(
            pb.DrainRequest(shard=shard), metadata=self._metadata
        )
        return steps

    async def snapshot(self, partitions: Sequence[int] = ()) -> dict[int, int]:
        """Save these partitions, or all; the offset that snapshots cover, by partition."""
        request = pb.SnapshotRequest(partitions=partitions)
        response = await self._stub.Snapshot(request, metadata=self._metadata, timeout=SNAPSHOT_S)
        return dict(response.durable)

    async def digest(self, partition: int) -> list[pb.ReplicaDigest]:
        """Position and digest of each replica and arm."""
        request = pb.DigestRequest(partition=partition)
        response = await self._stub.Digest(request, metadata=self._metadata, timeout=DIGEST_S)
        return list(response.replicas)

    async def erase(self, user: str) -> pb.EraseReceipt:
        """Remove the user everywhere; what was removed where."""
        request = pb.EraseRequest(user=user)
        receipt: pb.EraseReceipt = await self._stub.Erase(
            request, metadata=self._metadata, timeout=ERASE_S
        )
        return receipt

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close(grace=None)

    async def __aenter__(self) -> Self:
        await reach(self._channel, self.address, REACH_S)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
