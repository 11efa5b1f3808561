"""`echorank replay`: a partition's states computed anew from its clicks."""

from __future__ import annotations

from typing import Annotated

import typer

from cluster.cli.admin import TokenOption
from cluster.cli.options import AddressOption, ConfigOption, settings_from
from cluster.operate.replay.source import Source

FAILED = 1


def replay(
    partition: Annotated[
        int, typer.Option("--partition", "-p", help="The partition to compute.", min=0)
    ],
    start: Annotated[
        int,
        typer.Option(
            "--from",
            help="0 starts from nothing, another offset from the newest snapshot at or below it.",
            min=0,
        ),
    ] = 0,
    stop: Annotated[
        int | None,
        typer.Option(
            "--to", help="The offset to stop before; without it the end of the clicks.", min=1
        ),
    ] = None,
    arm: Annotated[
        str | None, typer.Option("--arm", "-a", help="Only this arm; without it all.")
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help=(
                "Compare with the states of the running system; of the newest snapshot if none "
                "runs, or with --to."
            ),
        ),
    ] = False,
    save: Annotated[
        bool,
        typer.Option(
            "--save", help="Save the states as the newest snapshot. Only while the system is down."
        ),
    ] = False,
    allow_gaps: Annotated[
        bool,
        typer.Option(
            "--allow-gaps", help="Save although offsets are missing from archive and log."
        ),
    ] = False,
    source: Annotated[
        Source, typer.Option(help="What to read; both: the archive, then the log.")
    ] = Source.BOTH,
    address: AddressOption = None,
    token: TokenOption = None,
    config: ConfigOption = None,
) -> None:
    """Compute a partition's states anew from archive and log, in this process, at full fold speed.

    Prints position, users and digest of each arm, and clicks a second. Erased users stay erased.

    With --verify it asks the running system for the digests of owner and standby, and for a
    snapshot, and compares with all of them, each at its own offset. It exits with 1 where states
    differ; how the snapshot's do, it says row by row: whose, and which part of them.

    Examples:
      [cyan]echorank replay --partition 3[/cyan]
      [cyan]echorank replay --partition 3 --verify[/cyan]
      [cyan]echorank replay --partition 3 --from 1200000 --arm main --source archive[/cyan]
      [cyan]echorank replay --partition 3 --arm candidate --save[/cyan]
    """
    from cluster.operate.replay.run import Order, run  # noqa: PLC0415
    from cluster.wiring.real import real  # noqa: PLC0415
    from cluster.wiring.replay import build_inputs  # noqa: PLC0415

    order = Order(
        partition=partition,
        start=start,
        stop=stop,
        arm=arm,
        verify=verify,
        save=save,
        allow_gaps=allow_gaps,
        source=source,
        address=address,
        token=token,
    )
    settings = settings_from(config)
    if not run(settings, build_inputs(real(settings), settings), order):
        raise typer.Exit(FAILED)
