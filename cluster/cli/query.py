"""`echorank score`, `recommend` and `status`: questions to a gateway that runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from actors.errors import EchoRankError
from cluster.cli.options import AddressOption, ConfigOption, JsonOption, settings_from
from monitoring.addresses import reachable

if TYPE_CHECKING:
    from cluster.operate.client import Client
    from rpc import echorank_pb2 as pb

Answer = TypeVar("Answer")
UserArgument = Annotated[str, typer.Argument(help="Id of the user, as in the click stream.")]
ArmOption = Annotated[str, typer.Option(help="Ask this arm; without it the traffic split decides.")]


def score(
    user: UserArgument,
    items: Annotated[list[str], typer.Argument(metavar="ITEM...", help="Ids of the candidates.")],
    arm: ArmOption = "",
    address: AddressOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print how likely USER is to click each ITEM, now.

    Examples:
      [cyan]echorank score 196 242 302 377[/cyan]
      [cyan]echorank score 196 242 --json --address gateway:50051[/cyan]
    """
    response = _ask(_gateway(address, config), lambda client: client.score(user, items, arm=arm))
    _show(response.origin, dict(zip(items, response.probabilities, strict=True)), as_json=as_json)


def recommend(
    user: UserArgument,
    k: Annotated[int, typer.Option("-k", help="How many items.", min=1)] = 10,
    seen: Annotated[
        bool, typer.Option("--seen", help="Also items that the user had already.")
    ] = False,
    arm: ArmOption = "",
    address: AddressOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the best items of the whole catalogue for USER.

    Example: [cyan]echorank recommend 196 -k 5[/cyan]
    """
    response = _ask(
        _gateway(address, config),
        lambda client: client.recommend(user, k, exclude_seen=not seen, arm=arm),
    )
    _show(
        response.origin, {item.item: item.probability for item in response.items}, as_json=as_json
    )


def status(
    address: AddressOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Print health, partitions and their owners, lag, snapshots,
    arms and model versions; exit with 1 unless healthy.

    The first line says what is wrong: not serving, a partition without a ready owner, a process
    that does not answer, a silent Kafka, unread partitions, two models in one arm, or a model that
    does not know the items.

    Examples:
      [cyan]echorank status[/cyan]
      [cyan]watch -n 2 echorank status[/cyan]
      [cyan]echorank status --json | jq .partitions[/cyan]
    """
    from rich.console import Console  # noqa: PLC0415

    from cluster.operate.status_report import gather, to_json  # noqa: PLC0415
    from cluster.operate.status_tables import render  # noqa: PLC0415

    monitoring = settings_from(config).monitoring
    report = _ask(
        _gateway(address, config),
        lambda client: gather(client, reachable(monitoring.host, monitoring.port)),
    )
    if as_json:
        typer.echo(to_json(report))
    else:
        console = Console()
        for part in render(report):
            console.print(part)
    raise typer.Exit(1 if report.not_healthy else 0)


def _gateway(address: str | None, config: ConfigOption) -> str:
    if address:
        return address
    serving = settings_from(config).serving
    return reachable(serving.host, serving.port)


def _ask(address: str, question: Callable[[Client], Awaitable[Answer]]) -> Answer:
    """The gateway's answer; a failed call is an error that names its code."""
    import grpc  # noqa: PLC0415

    from cluster.operate.client import Client  # noqa: PLC0415

    async def ask() -> Answer:
        async with Client(address) as client:
            return await question(client)

    try:
        return asyncio.run(ask())
    except grpc.aio.AioRpcError as error:
        raise EchoRankError(f"{address} answered {error.code().name}: {error.details()}") from error


def _show(origin: pb.Origin, probabilities: dict[str, float], *, as_json: bool) -> None:
    """Items and probabilities in the given order, and where they came from."""
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    if as_json:
        where = MessageToDict(
            origin, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        typer.echo(json.dumps({"probabilities": probabilities, "origin": where}))
        return
    table = Table("item", "probability")
    table.columns[1].justify = "right"
    for item, probability in probabilities.items():
        table.add_row(item, f"{probability:.4f}")
    Console().print(table, _origin_line(origin), sep="\n")


def _origin_line(origin: pb.Origin) -> str:
    """In words: arm, version, level, offset, age of the state."""
    from rpc import echorank_pb2 as pb  # noqa: PLC0415

    level = pb.Level.Name(origin.level).removeprefix("LEVEL_")
    user = {
        pb.USER_STATE_COLD: "no click of this user yet",
        pb.USER_STATE_UNKNOWN: (
            "nothing known of this user while the state is restored or built anew"
        ),
    }.get(origin.user_state, f"last click {origin.state_age_ms / 1000:,.1f} s ago")
    stale = "; [yellow]stale: the shard is catching up[/yellow]" if origin.stale else ""
    place = f"partition {origin.partition} up to offset {origin.offset}"
    return (
        f"{level} answer of arm {origin.arm}, model {origin.model_version}, {place}; {user}{stale}"
    )
