"""`echorank scale`, `drain` and `snapshot`: operations on a system that runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from actors.errors import EchoRankError
from cluster.cli.options import AddressOption, ConfigOption, JsonOption, settings_from
from monitoring.addresses import reachable

if TYPE_CHECKING:
    from cluster.operate.admin_client import AdminClient
    from rpc import echorank_pb2 as pb

Answer = TypeVar("Answer")
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        help="Admin token; without it serving.admin_token (ECHORANK__SERVING__ADMIN_TOKEN).",
    ),
]


def scale(
    shards: Annotated[
        int, typer.Option("--shards", "-n", help="How many shards there should be.", min=1)
    ],
    address: AddressOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Change the number of shards while the system runs,
    and wait until every partition is in its place.

    Partitions move a few at a time; each is answered all the while, and no click is lost or
    doubled. Ctrl-C ends the waiting, not the moving; the same command joins in again. The next
    `echorank up` begins with serving.shards.

    Examples:
      [cyan]echorank scale --shards 3[/cyan]
      [cyan]ECHORANK__SERVING__ADMIN_TOKEN=... echorank scale -n 1 --address gateway:50051[/cyan]
    """
    last = ask(address, token, config, lambda admin: _follow(admin.scale(shards)))
    typer.echo(f"{last.shards_now} shards hold all partitions.")


def drain(
    shard: Annotated[str, typer.Argument(help="Name of the shard, as `echorank status` shows it.")],
    address: AddressOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Move everything off SHARD, so that its machine can be taken away,
    and wait until that is done.

    The others take over without a gap. The shard stays empty until its process starts anew.

    Example: [cyan]echorank drain shard-1[/cyan]
    """
    ask(address, token, config, lambda admin: _follow(admin.drain(shard)))
    typer.echo(f"{shard} is empty.")


def snapshot(
    partition: Annotated[
        list[int] | None,
        typer.Option("--partition", "-p", help="Only this one; may be given again.", min=0),
    ] = None,
    address: AddressOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Save the states of all partitions now, and print the offsets that snapshots cover.

    Examples:
      [cyan]echorank snapshot[/cyan]
      [cyan]echorank snapshot -p 0 && echorank replay -p 0 --verify[/cyan]
    """
    durable = ask(address, token, config, lambda admin: admin.snapshot(partition or ()))
    if as_json:
        import json  # noqa: PLC0415

        typer.echo(json.dumps({"durable": durable}, sort_keys=True))
        return
    for number, offset in sorted(durable.items()):
        typer.echo(f"partition {number}: every click below offset {offset} is in a snapshot")


async def _follow(steps: AsyncIterator[pb.ScaleProgress]) -> pb.ScaleProgress:
    """Show each step; the last one."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn  # noqa: PLC0415

    columns = SpinnerColumn(), BarColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("asked")
        most = 0
        async for step in steps:
            most = max(most, step.partitions_to_move)
            progress.update(
                bar,
                total=most or 1,
                completed=most - step.partitions_to_move,
                description=step.message,
            )
            if step.done:
                return step
    raise EchoRankError(
        "the gateway ended the progress before all was done; the work goes on: ask again"
    )


def ask(
    address: str | None,
    token: str | None,
    config: ConfigOption,
    question: Callable[[AdminClient], Awaitable[Answer]],
) -> Answer:
    """The gateway's answer; a failed call is an error that names its code."""
    import grpc  # noqa: PLC0415

    from cluster.operate.admin_client import AdminClient  # noqa: PLC0415

    serving = settings_from(config).serving
    place = address or reachable(serving.host, serving.port)

    async def answer() -> Answer:
        async with AdminClient(place, token=token or serving.admin_token) as admin:
            return await question(admin)

    try:
        return asyncio.run(answer())
    except grpc.aio.AioRpcError as error:
        raise EchoRankError(f"{place} answered {error.code().name}: {error.details()}") from error
