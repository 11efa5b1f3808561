"""`echorank archive ls` and `echorank archive verify`: what was archived,
and whether all of it can be read back.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actors.errors import ConfigError
from cluster.cli.options import ConfigOption, JsonOption, settings_from

if TYPE_CHECKING:
    from rich.table import Table

    from actors.archive.check import PartitionSummary
    from actors.archive.files import ArchiveFile, ArchiveFiles

archive_app = typer.Typer(
    no_args_is_help=True, help="Look at the archived clicks, and verify them."
)

PartitionOption = Annotated[
    int | None,
    typer.Option("--partition", "-p", help="Only this partition; without it all.", min=0),
]
DirectoryOption = Annotated[
    str | None,
    typer.Option(
        "--directory", "-d", help="The archive, a path or a URI; without it archive.directory."
    ),
]
DAMAGED = 1


@archive_app.command("ls")
def list_files(
    partition: PartitionOption = None,
    directory: DirectoryOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the partitions: files, clicks, bytes, offsets from and to, dates,
    and the offsets that are missing.

    Reads the end of each file. Offsets count from the first up to and without the second.

    Examples:
      [cyan]echorank archive ls[/cyan]
      [cyan]echorank archive ls --partition 3 --json[/cyan]
      [cyan]echorank archive ls --directory s3://bucket/archive[/cyan]
    """
    import dataclasses  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415
    from rich.progress import track  # noqa: PLC0415

    from actors.archive.check import summary  # noqa: PLC0415

    files, found = _found(directory, config, partition)
    shown = Console(stderr=True)
    partitions = track(
        found.values(), "Reading", console=shown, transient=True, disable=not shown.is_terminal
    )
    summaries = [summary(files, of_one) for of_one in partitions]
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(one) for one in summaries]))
        return
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(_table(summaries))
    for text in [text for one in summaries for text in one.unreadable]:
        console.print(f"[red]{text}[/red]", highlight=False, soft_wrap=True)


@archive_app.command("verify")
def verify(
    partition: PartitionOption = None,
    directory: DirectoryOption = None,
    config: ConfigOption = None,
) -> None:
    """Read every file and say what is wrong: damage,
    offsets out of order or outside the name, gaps, overlaps.

    Exits with 0 if all is well, with 1 and a list if not.

    Examples:
      [cyan]echorank archive verify[/cyan]
      [cyan]echorank archive verify --partition 3 --directory /mnt/archive[/cyan]
    """
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from actors.archive.check import problem, problems_between  # noqa: PLC0415

    files, found = _found(directory, config, partition)
    wrong = [text for of_one in found.values() for text in problems_between(of_one)]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    count = sum(len(of_one) for of_one in found.values())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("files", total=count)
        for of_one in found.values():
            for file in of_one:
                if text := problem(files, file):
                    wrong.append(text)
                progress.advance(task)
    for text in wrong:
        typer.echo(text)
    typer.echo(
        f"{count} files of {len(found)} partitions: {len(wrong) or 'no'} "
        f"problem{'s' * (len(wrong) != 1)}."
    )
    if wrong:
        raise typer.Exit(DAMAGED)


def _found(
    directory: str | None, config: Path | None, partition: int | None
) -> tuple[ArchiveFiles, dict[int, list[ArchiveFile]]]:
    """The archive, and the files of each partition that has some.

    Raises:
        ArchiveError: there are none.
    """
    from actors.archive.files import ArchiveFiles  # noqa: PLC0415
    from actors.errors import ArchiveError  # noqa: PLC0415
    from cluster.operate.run_folders import runs_below  # noqa: PLC0415
    from model.credentials import shown  # noqa: PLC0415

    root = _checked(directory) if directory else settings_from(config).archive.directory
    files = ArchiveFiles.from_uri(root)
    wanted = files.partitions() if partition is None else [partition]
    found = {one: of_one for one in wanted if (of_one := files.find(one))}
    if not found:
        where = f"partition {partition} in {shown(root)}" if partition is not None else shown(root)
        raise ArchiveError(
            f"there are no archived clicks of {where}; {runs_below(root, '--directory')}"
        )
    return files, found


def _checked(directory: str) -> str:
    from cluster.settings.values import directory as checked  # noqa: PLC0415

    try:
        return checked(directory)
    except ValueError as error:
        raise ConfigError(f"--directory: {error}") from None


def _table(summaries: list[PartitionSummary]) -> Table:
    from rich.table import Table  # noqa: PLC0415

    table = Table(
        "partition", "files", "clicks", "bytes", "from", "to", "dates", "gaps", "overlaps"
    )
    for column in (*table.columns[:6], *table.columns[7:]):
        column.justify = "right"
    for one in summaries:
        dates = "-" if one.first_date is None else f"{one.first_date} to {one.last_date}"
        sizes = (one.files, one.clicks, one.size_bytes, one.start, one.stop)
        holes = (_ranges(one.gaps), _ranges(one.overlaps))
        table.add_row(str(one.partition), *(f"{size:,}" for size in sizes), dates, *holes)
    return table


def _ranges(ranges: tuple[tuple[int, int], ...]) -> str:
    shown = ", ".join(f"{start:,}-{stop:,}" for start, stop in ranges[:3])
    return f"{shown}, and {len(ranges) - 3} more" if len(ranges) > 3 else shown or "none"
