"""What `echorank replay --verify` compares with: the shards of the running system,
and the snapshot just taken of them.

The shards say a digest and the offset that it is of; they fold on, so the replay must come by that
very offset. Their rows cannot be asked for. So the owner saves a snapshot afterwards, which is
compared as well, row by row if need be.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from rich.console import Console
from rich.table import Table

from actors.errors import EchoRankError
from actors.state.difference import Difference, compare
from actors.state.store import PartitionStore
from cluster.operate.admin_client import REACH_S, AdminClient
from rpc import echorank_pb2 as pb

SNAPSHOT = "the snapshot"
IN_MEMORY_ONLY = (
    "the snapshot is right and a shard is not: its memory has rows that differ and that were not "
    "saved since. Restart that shard, which then restores the snapshot, and keep its log"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Check:
    """States of one arm that a replay must have at `position`;
    `store` has their rows, where these are known.
    """

    arm: str
    position: int
    digest: str
    source: str
    store: PartitionStore | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStates:
    """What the running system answered: the digests of every replica,
    and the offset that a snapshot now covers.
    """

    replicas: tuple[pb.ReplicaDigest, ...]
    durable: int


def ask(address: str, token: str | None, partition: int) -> LiveStates | None:
    """Ask the gateway for digests and then for a snapshot;
    None if nothing listens at `address` (host:port).

    Raises:
        EchoRankError: somebody listens, but does not answer, or refuses.
    """
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=REACH_S).close()
    except OSError:
        return None
    try:
        return asyncio.run(_ask(address, token, partition))
    except grpc.aio.AioRpcError as error:
        raise EchoRankError(
            f"the states of the running system cannot be had: {address} answered "
            f"{error.code().name}: {error.details()}; try again, or give another --address"
        ) from error


async def _ask(address: str, token: str | None, partition: int) -> LiveStates:
    async with AdminClient(address, token=token) as admin:
        replicas = await admin.digest(partition)
        durable = await admin.snapshot([partition])
    return LiveStates(replicas=tuple(replicas), durable=durable[partition])


def checks_of(
    saved: Mapping[str, PartitionStore], live: LiveStates | None, address: str
) -> list[Check]:
    """All comparisons to make for the arms of `saved`, by their offsets.

    Raises:
        EchoRankError: the snapshot that the running system has just taken is not the one that was
            read.
    """
    found = [
        Check(arm=arm, position=store.position, digest=store.digest(), source=SNAPSHOT, store=store)
        for arm, store in saved.items()
    ]
    if live is not None:
        if (read := max(store.position for store in saved.values())) < live.durable:
            raise EchoRankError(
                f"the system at {address} has saved everything below offset {live.durable}, but "
                f"the newest usable snapshot in state.directory is of offset {read}; give the "
                "configuration of that very system"
            )
        found += [
            Check(
                arm=one.arm,
                position=one.position,
                digest=one.digest,
                source=f"the live {one.role} {one.shard}",
            )
            for one in live.replicas
            if one.arm in saved
        ]
    return sorted(found, key=lambda check: check.position)


def passes(check: Check, replayed: PartitionStore, console: Console) -> bool:
    """Whether the replayed states are those of the check; if not, how they differ is printed."""
    digest = replayed.digest()
    if digest == check.digest:
        text = (
            f"arm {check.arm}: equal to {check.source} at offset {check.position}, digest {digest}"
        )
        console.print(text, highlight=False)
        return True
    text = f"arm {check.arm}: differs from {check.source}, digest {check.digest}, replayed {digest}"
    console.print(text, style="red", highlight=False, soft_wrap=True)
    if check.position != replayed.position:
        console.print(
            f"positions differ: {check.source} {check.position}, replayed {replayed.position}"
        )
    elif check.store is not None:
        _print_difference(compare(check.store, replayed), console)
    return False


def explain(outcomes: Mapping[Check, bool], console: Console) -> None:
    """Say what it means if a live shard failed though the snapshot passed."""
    for arm in sorted({check.arm for check in outcomes}):
        failed = {
            check.source for check, equal in outcomes.items() if check.arm == arm and not equal
        }
        if failed and SNAPSHOT not in failed:
            console.print(
                f"arm {arm}: {IN_MEMORY_ONLY}", style="yellow", highlight=False, soft_wrap=True
            )


def _print_difference(difference: Difference, console: Console) -> None:
    console.print(
        f"{difference.users} users differ, of {difference.users_expected} in the snapshot and "
        f"{difference.users_found} in the replay; the first by key:"
    )
    table = Table("user key", "snapshot", "replayed", "what differs")
    for one in difference.shown:
        parts = ", ".join(one.parts) or (
            "only in the replay" if one.expected is None else "only in the snapshot"
        )
        table.add_row(f"{one.user:016x}", one.expected or "-", one.found or "-", parts)
    console.print(table)
