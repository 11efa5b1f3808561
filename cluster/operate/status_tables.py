"""A status report for people: what is wrong on top, then tables that fit 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.styled import Styled
from rich.table import Table
from rich.text import Text

from cluster.kafka.log_watch import SILENT_S
from cluster.operate.status_report import Report

if TYPE_CHECKING:
    from rich.console import RenderableType

NAME_MAX = 13  # characters of an arm


def render(report: Report) -> Iterator[RenderableType]:
    """The report, a headline first; lines are cut where they do not fit,
    except for the sentences at the end.
    """
    # a bare text would be printed without its own way to be cut
    yield Styled(_headline(report), "")
    for table in (_partitions(report), _arms(report), _processes(report)):
        yield ""
        yield table
    for sentence in (*report.problems, *report.warnings):
        yield Text(sentence, style="yellow")


def _headline(report: Report) -> Text:
    """Whether it is healthy, and in a few words each why not."""
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(report.address, style="bold").append(" is ")
    if report.health == "SERVING":
        line.append("SERVING", style="green").append(
            ", but " if report.not_healthy else " and healthy"
        )
    if report.not_healthy:
        line.append("not healthy: ").append("; ".join(report.not_healthy), style="red")
    return line


def _partitions(report: Report) -> Table:
    """Replicas that are not ready are marked, as in `shard-1 not ready`."""
    heads = ("partition", "owner", "standby", "lag", "log silent", "snapshot")
    table = _table(
        f"Partitions (routing table {report.routing_version})", heads, numbers=(0, 3, 4, 5)
    )
    for row in report.partitions:
        owner = _replica(row.shard, row.address, row.ready)
        standby = row.standby and _replica(
            row.standby.shard, row.standby.address, row.standby.ready
        )
        silence = _seconds(row.silence_s)
        if row.silence_s is not None and row.silence_s >= SILENT_S:
            silence = f"[red]{silence}[/red]"
        numbers = (_count(row.lag_records), silence, _seconds(row.snapshot_age_s))
        table.add_row(*map(_cell, (row.partition, owner, standby, *numbers)))
    return table


def _arms(report: Report) -> Table:
    heads = ("arm", "traffic", "model", "lag", "users", "bytes", "unknown", "age")
    title = "Arms (bytes a user, unknown items, days since the newest click learned)"
    table = _table(title, heads, numbers=(1, 3, 4, 5, 6, 7))
    for arm in report.arms:
        versions = sorted({arm.model_version, *arm.models})
        model = versions[0] if len(versions) == 1 else f"[red]{len(versions)} models[/red]"
        unknown = None if arm.unknown_items is None else f"{arm.unknown_items:.1%}"
        traffic = f"{arm.weight / 100:g} %" if arm.role == "live" else arm.role
        age = None if arm.age_days is None else f"{arm.age_days:,.0f} d"
        sizes = (_count(arm.lag_records), _count(arm.users), arm.bytes_per_user, unknown, age)
        table.add_row(*map(_cell, (_cut(arm.name), traffic, model, *sizes)))
    return table


def _processes(report: Report) -> Table:
    table = _table("Processes", ("process", "kind", "metrics", "memory"), numbers=(3,))
    for one in report.processes:
        memory = None if one.resident_bytes is None else f"{one.resident_bytes / 2**20:,.0f} MiB"
        table.add_row(
            *map(
                _cell,
                (one.name, one.kind, one.address, "[red]no answer[/red]" if one.error else memory),
            )
        )
    return table


def _table(title: str, heads: tuple[str, ...], numbers: tuple[int, ...]) -> Table:
    """Rows that are cut, never wrapped: a row is a line, also for `grep`."""
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, collapse_padding=True, show_edge=False
    )
    for at, head in enumerate(heads):
        table.add_column(
            head, justify="right" if at in numbers else "left", no_wrap=True, overflow="ellipsis"
        )
    return table


def _replica(shard: str, address: str, ready: bool) -> str:
    if not shard:
        return "[red]nobody[/red]"
    return (
        shard
        if ready
        else f"{shard} {'[yellow]not ready[/yellow]' if address else '[red]dead[/red]'}"
    )


def _cut(name: str) -> str:
    return name if len(name) <= NAME_MAX else f"{name[: NAME_MAX - 1]}…"


def _count(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f} s"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if isinstance(value, float) else str(value)
