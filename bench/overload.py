"""What is answered when more is asked than can be answered: goodput,
refusals and their latency, as parts of capacity.

Starts the whole system as a process of its own, measures its capacity with a closed loop of few
clients, then drives it with many stubborn clients, who ask again at once, and with calls at a
steady rate of several times the capacity, answered or not. Each call has a deadline of one second.
With `--beside` another checkout goes through the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from google.protobuf.json_format import MessageToDict

from bench import report
from bench.load import CALL, PROTO, Ghz, choose
from bench.score import QUICK, requests

CANDIDATES = 100
DEADLINE = "1s"
CLIENTS = 64
CROWD = 600
TIMES = (2, 3, 5)  # the capacity
CONNECTIONS = 50
CODES = ("OK", "ResourceExhausted")
SYSTEM = """
import asyncio, functools, sys, tempfile
from dataclasses import replace
from pathlib import Path
from bench import untrained
from bench.score import QUICK, fill, filled, settings
from cluster.wiring import start
plan = replace(QUICK, items=5000, users=500)
with tempfile.TemporaryDirectory() as directory:
    chosen = settings(Path(directory), None)
    load = functools.partial(untrained.bundle, plan.items)
    with getattr(start, "start", start)(chosen, load=load) as system:
        system.wait_ready()
        clicks = fill(system.bootstrap_servers, chosen.topics.clicks, plan)
        asyncio.run(filled(system.gateway_address, clicks))
        print("gateway", system.gateway_address, flush=True)
        sys.stdin.read()
"""  # run in either checkout, so it uses only what both have


class Row(NamedTuple):
    """What the callers of one load saw."""

    checkout: str
    load: str
    answered_per_s: float
    part: float  # of the capacity
    p50_ms: float  # of the answers
    refused_p50_ms: float | None
    codes: dict[str, int]


@contextmanager
def system_of(checkout: Path) -> Iterator[str]:
    """The system as it is in a checkout, until the end of the `with`; the gateway's address."""
    environ = os.environ | {"PYTHONPATH": str(checkout)}
    with subprocess.Popen(
        [sys.executable, "-c", SYSTEM],
        cwd=checkout,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        address = next(
            (line.split()[1] for line in process.stdout if line.startswith("gateway ")), None
        )
        if address is None:
            raise RuntimeError(f"the system of {checkout} did not start; its messages stand above")
        try:
            yield address
        finally:
            process.communicate()


def drive(driver: Ghz, address: str, seconds: float, *options: object) -> dict[str, Any]:
    """What ghz reports, with each call of its own."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as data:
        json.dump([MessageToDict(request) for request in requests(QUICK, CANDIDATES)], data)
        data.flush()
        command = [
            driver.binary,
            "--insecure",
            "--proto",
            PROTO,
            "--call",
            CALL,
            "--data-file",
            data.name,
        ]
        command += [
            "--timeout",
            DEADLINE,
            "--duration",
            f"{seconds}s",
            "--duration-stop",
            "wait",
            "--format",
            "json",
        ]
        command += [*map(str, options), address]
        done = subprocess.run(command, cwd=report.ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def outcome(
    checkout: str, load: str, found: dict[str, Any], seconds: float, capacity: float
) -> Row:
    """A row of what ghz reported; without a capacity, its own rate is taken as such."""
    took = {
        code: [call["latency"] / 1e6 for call in found["details"] if call["status"] == code]
        for code in CODES
    }
    rate = len(took["OK"]) / seconds
    middle = {code: round(report.Spread.of(each).median, 1) for code, each in took.items() if each}
    part = rate / (capacity or rate or 1.0)
    codes = found["statusCodeDistribution"]
    return Row(
        checkout,
        load,
        round(rate, 1),
        round(part, 3),
        middle.get("OK", 0),
        middle.get("ResourceExhausted"),
        codes,
    )


def measure(driver: Ghz, name: str, checkout: Path, seconds: float) -> list[Row]:
    """All loads of one checkout."""
    with system_of(checkout) as address:
        drive(driver, address, 2, "-c", 8, "--connections", 8)

        def closed(clients: int) -> dict[str, Any]:
            return drive(
                driver, address, seconds, "-c", clients, "--connections", min(clients, CONNECTIONS)
            )

        rows = [outcome(name, f"{CLIENTS} clients", closed(CLIENTS), seconds, 0.0)]
        capacity = rows[0].answered_per_s
        rows.append(outcome(name, f"{CROWD} clients", closed(CROWD), seconds, capacity))
        for times in TIMES:
            options = (
                "-c",
                1000,
                "--connections",
                CONNECTIONS,
                "--async",
                "--rps",
                round(times * capacity),
            )
            found = drive(driver, address, seconds, *options)
            rows.append(outcome(name, f"{times} times the capacity", found, seconds, capacity))
    return rows


def markdown(rows: list[Row], origin: dict[str, str], client: str) -> str:
    """overload.md."""
    heads = ("checkout, load", "answered/s", "of capacity", "p50 ms", "refused after ms", "codes")
    lines = [
        (
            f"{row.checkout}, {row.load}",
            f"{row.answered_per_s:,.0f}",
            f"{row.part:.0%}",
            f"{row.p50_ms:.0f}",
            "" if row.refused_p50_ms is None else f"{row.refused_p50_ms:.0f}",
            ", ".join(f"{code} {count:,}" for code, count in sorted(row.codes.items())),
        )
        for row in rows
    ]
    return (
        "# More load than can be answered\n\n"
        f"{report.table(heads, lines)}\n\n"
        f"{CANDIDATES} candidates, deadline {DEADLINE}, client {client} on the same machine. The "
        "capacity is what "
        f"{CLIENTS} clients get in a closed loop; clients ask again at once, whatever they were "
        "told.\n\n"
        f"{report.footer(origin)}\n"
    )


def main(
    quick: Annotated[
        bool, typer.Option(help="Two seconds a load; writes below out/bench/.")
    ] = False,
    beside: Annotated[
        Path | None, typer.Option(help="Another checkout to go through the same, first.")
    ] = None,
    out: report.Out = None,
) -> None:
    """Measure what is answered under overload; needs ghz,
    a client that costs little beside the servers.
    """
    place = report.folder_for(quick, out)
    driver = choose()
    if not isinstance(driver, Ghz):
        raise RuntimeError("put ghz on PATH, or set GHZ: a Python client would measure itself")
    seconds = 2.0 if quick else 8.0
    rows = measure(driver, "before", beside.absolute(), seconds) if beside else []
    rows += measure(driver, "after" if beside else "this", report.ROOT, seconds)
    origin = report.provenance(quick)
    text = markdown(rows, origin, driver.name)
    folder = report.write(
        "overload", {"rows": [row._asdict() for row in rows], **origin}, text, place
    )
    print(f"{text}\nwritten: {folder}/overload.md and raw/overload.json")


if __name__ == "__main__":
    typer.run(main)
