"""`echorank erase`: a user, removed from everywhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actors.errors import ConfigError
from cluster.cli.admin import TokenOption, ask
from cluster.cli.options import AddressOption, ConfigOption, JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from rpc import echorank_pb2 as pb


def erase(
    user: Annotated[str, typer.Argument(help="Id of the user, as in the click stream.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the receipt there as JSON.")
    ] = None,
    address: AddressOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove USER: states of all arms, standbys, snapshots, archive.
    The system has to run. There is no way back.

    Exits with 0 only if everything is done, with 1 and what is missing if not: then run it again,
    and what is done stays done. All partitions and the whole archive are looked through; the
    gateway's log says how far it is. The receipt names every place, with checksums before and
    after; the user id itself is kept nowhere, only its xxh64, in the tombstone that keeps replays
    from bringing the user back.

    What remains is Kafka's: the user's records in the topics clicks, clicks.dlq and exposures stay
    until retention deletes them (the receipt says how long), and are not used any more. So does
    what trained models learned. Clicks that come later are those of a new user: stop sending them
    first.

    Examples:
      [cyan]echorank erase 196[/cyan]
      [cyan]echorank erase 196 --yes --out receipt-196.json[/cyan]
    """
    from rich.console import Console  # noqa: PLC0415

    _confirm(user, yes=yes)
    receipt = ask(address, token, config, lambda admin: admin.erase(user))
    if out is not None:
        out.write_text(_as_json(receipt) + "\n")
    if as_json:
        typer.echo(_as_json(receipt))
    else:
        typer.echo(
            f"User {receipt.user_key:016x} of partition {receipt.partition}, clicks below "
            f"{receipt.until}:"
        )
        Console(width=None if sys.stdout.isatty() else 200).print(_table(receipt))


def _confirm(user: str, *, yes: bool) -> None:
    """Ask at a terminal; without one, --yes is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(
            f"nobody is here to ask whether to erase user {user} for good; give --yes"
        )
    typer.confirm(f"Erase user {user} for good?", abort=True)


def _as_json(receipt: pb.EraseReceipt) -> str:
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415

    values = MessageToDict(
        receipt, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.dumps(values, indent=2)


def _table(receipt: pb.EraseReceipt) -> Table:
    from rich.table import Table  # noqa: PLC0415

    table = Table("place", "removed", "before", "after", "note")
    table.columns[1].justify = "right"
    for place in receipt.places:
        table.add_row(
            place.place, str(place.removed), place.digest_before, place.digest_after, place.note
        )
    return table
