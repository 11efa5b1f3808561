"""Whether a system at rest keeps its memory: resident bytes of its processes,
and of Ray's, minute by minute.

A system of two shards with an untrained model and the embedded broker, as the settings have it by
default; nobody clicks and nobody asks. What grows then grows in every deployment. The slope is that
of a straight line through the second half of the samples: in the first, processes still load what
they need.

    python -m bench.rest --minutes 60
"""

from __future__ import annotations

import csv
import functools
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from bench import report, untrained
from cluster.broker.free_port import free_port
from cluster.settings.config import Settings
from cluster.settings.serving import MonitoringSettings, RaySettings, ServingSettings
from cluster.settings.storage import ArchiveSettings, StateSettings
from cluster.wiring.start import start_system

ITEMS = 1000
SHARDS = 2
READY_S = 180.0
# by name; Ray's Python processes by what they run
RAY = {"gcs_server": "control store", "raylet": "raylet"}
SCRIPTS = {
    "ray::DashboardAgent": "agent",
    "ray::RuntimeEnvAgent": "environments",
    "log_monitor.py": "logs",
}


class Process(NamedTuple):
    """A process as /proc shows it."""

    pid: int
    parent: int
    command: str
    resident_bytes: int


def processes(proc: Path = Path("/proc")) -> Iterator[Process]:
    """Every process of this machine that still runs when it is looked at."""
    page = os.sysconf("SC_PAGE_SIZE")
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            parent = int(folder.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            command = (
                folder.joinpath("cmdline")
                .read_bytes()
                .replace(b"\0", b" ")
                .decode(errors="replace")
                .strip()
            )
            resident = int(folder.joinpath("statm").read_text().split()[1]) * page
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield Process(int(folder.name), parent, command, resident)


def below(root: int, found: Sequence[Process]) -> list[Process]:
    """The processes that `root` started, and those that these started."""
    kept = []
    family = {root}
    for _ in found:
        new = [each for each in found if each.parent in family and each.pid not in family]
        if not new:
            break
        kept += new
        family |= {each.pid for each in new}
    return kept


def named(process: Process, actors: Mapping[int, str]) -> str | None:
    """What the process is, as the report calls it; None for one that it leaves out."""
    if process.pid in actors:
        return actors[process.pid]
    program = Path(process.command.split(" ")[0]).name
    if program in RAY:
        return RAY[program]
    return next((name for script, name in SCRIPTS.items() if script in process.command), None)


def sample(root: int, actors: Mapping[int, str]) -> dict[str, int]:
    """Resident bytes by what the process is."""
    sizes: dict[str, int] = {}
    for process in below(root, list(processes())):
        if name := named(process, actors):
            sizes[name] = sizes.get(name, 0) + process.resident_bytes
    return sizes


def slope(seconds: Sequence[float], sizes: Sequence[float]) -> float:
    """Bytes an hour in the second half of the samples."""
    half = len(seconds) // 2
    return float(np.polyfit(seconds[half:], sizes[half:], 1)[0]) * 3600


def settings(folder: Path) -> Settings:
    """The defaults, on free ports and below `folder`."""
    return Settings(
        ray=RaySettings(cpus=2),
        serving=ServingSettings(port=free_port(), shards=SHARDS),
        monitoring=MonitoringSettings(port=free_port()),
        state=StateSettings(directory=str(folder / "state")),
        archive=ArchiveSettings(directory=str(folder / "archive")),
    )


def watch(minutes: float, every_s: float, out: Path) -> dict[str, list[tuple[float, int]]]:
    """Samples of each process over so many minutes of rest;
    also written to `out` as they are taken.
    """
    series: dict[str, list[tuple[float, int]]] = {}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, out.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("seconds", "process", "resident_bytes"))
        with start_system(
            settings(Path(folder)), load=functools.partial(untrained.bundle, ITEMS)
        ) as system:
            system.wait_ready(READY_S)
            actors = {pid: name for name, pid in system.pids().items()}
            began = time.monotonic()
            while (at_s := time.monotonic() - began) <= minutes * 60:
                for name, size in sample(os.getpid(), actors).items():
                    series.setdefault(name, []).append((at_s, size))
                    rows.writerow((f"{at_s:.1f}", name, size))
                file.flush()
                time.sleep(every_s)
    return series


def summary(series: Mapping[str, Sequence[tuple[float, int]]]) -> list[dict[str, object]]:
    """One row a process: first, last and largest size, and how fast it grew."""
    rows: list[dict[str, object]] = []
    for name, samples in sorted(series.items()):
        seconds, sizes = zip(*samples, strict=True)
        rows.append(
            {
                "process": name,
                "samples": len(sizes),
                "first_bytes": sizes[0],
                "last_bytes": sizes[-1],
                "max_bytes": max(sizes),
                "bytes_per_hour": round(slope(seconds, sizes)) if len(sizes) > 3 else None,
            }
        )
    return rows


def markdown(rows: Sequence[Mapping[str, object]], origin: dict[str, str]) -> str:
    """The report for people."""

    def mib(size: object) -> str:
        return "-" if size is None else f"{int(str(size)) / 2**20:,.1f}"

    columns = ("first_bytes", "last_bytes", "max_bytes", "bytes_per_hour")
    table = report.table(
        ("process", "first, MiB", "last, MiB", "largest, MiB", "growth, MiB an hour"),
        [(row["process"], *(mib(row[column]) for column in columns)) for row in rows],
    )
    text = f"Resident memory of a system of {SHARDS} shards at rest: nobody clicks, nobody asks."
    return f"# Memory at rest\n\n{text}\n\n{table}\n\n{report.footer(origin)}\n"


def main(
    minutes: Annotated[float, typer.Option(help="How long to watch.", min=0.1)] = 60.0,
    every: Annotated[float, typer.Option(help="Seconds between samples.", min=0.1)] = 30.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="A trial run of a minute; writes to out/bench/.")
    ] = False,
    out: report.Out = None,
) -> None:
    """Watch the memory of a system at rest, and report."""
    if quick:
        minutes = min(minutes, 1.0)
        every = min(every, 5.0)
    place = report.folder_for(quick, out)
    origin = report.provenance(quick)
    rows = summary(watch(minutes, every, report.QUICK / "rest.csv"))
    folder = report.write(
        "rest",
        {"provenance": origin, "minutes": minutes, "processes": rows},
        markdown(rows, origin),
        place,
    )
    typer.echo(json.dumps({row["process"]: row["bytes_per_hour"] for row in rows}))
    typer.echo(f"written to {folder}")


if __name__ == "__main__":
    typer.run(main)
