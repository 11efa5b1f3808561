"""A real Prometheus server that discovers real processes, reads them,
and evaluates the shipped rules.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from cluster.broker.free_port import free_port
from tests.monitoring.exporter_process import PARTITIONS
from tests.monitoring.prometheus_names import MONITORING, rules

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="prometheus is missing; install it: sudo apt-get install -y prometheus",
)
USERS = 40


class Deployment:
    """Processes with metrics, and the file from which the gateway
    tells Prometheus where they are.
    """

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._targets = directory / "targets"
        self._stack = stack
        self._lines: dict[str, str] = {}
        self.processes: dict[str, subprocess.Popen[str]] = {}

    def start(self, kind: str, name: str, users: int = 0) -> str:
        """Start (or move) an actor; returns its address."""
        command = [
            sys.executable,
            "-m",
            "tests.monitoring.exporter_process",
            kind,
            str(self._targets),
            str(users),
        ]
        process = self._stack.enter_context(
            subprocess.Popen(
                command,
                cwd=MONITORING.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        self._stack.callback(process.kill)
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        self.processes[name] = process
        self._lines[name] = f"{kind} {name} {address}"
        self._targets.write_text("\n".join(self._lines.values()))
        return address


class Prometheus:
    """A server with the shipped configuration,
    made quick and pointed at the gateway of the test.
    """

    def __init__(self, directory: Path, gateway: str, stack: ExitStack) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        shipped = (MONITORING / "prometheus.yml").read_text()
        quick = (
            shipped.replace("127.0.0.1:9464", gateway)
            .replace(" 5s", " 250ms")
            .replace(" 15s", " 250ms")
        )
        config = directory / "prometheus.yml"
        config.write_text(quick.replace("rules/", f"{MONITORING}/rules/"))
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory}/data"]
        self.log = directory / "prometheus.log"
        output = stack.enter_context(self.log.open("w"))
        process = stack.enter_context(
            subprocess.Popen(
                [*command, f"--web.listen-address={self.address}"], stdout=output, stderr=output
            )
        )
        stack.callback(process.terminate)

    def api(self, path: str) -> Any:
        """The data of one call of the HTTP API."""
        with urlopen(f"http://{self.address}/api/v1/{path}", timeout=5) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> dict[str, float]:
        """Value by instance (or by nothing) of an instant query."""
        found = self.api(f"query?query={quote(expression)}")["result"]
        return {row["metric"].get("instance", ""): float(row["value"][1]) for row in found}

    def until(self, expression: str, wanted: dict[str, float], within_s: float = 30.0) -> None:
        """Return once the query gives what is wanted; fail with what it gave last."""
        self.wait(lambda: self.query(expression), lambda got: got == wanted, expression, within_s)

    def wait(
        self, ask: Callable[[], Any], good: Callable[[Any], bool], what: str, within_s: float = 30.0
    ) -> None:
        """Ask until the answer is good."""
        deadline = time.monotonic() + within_s
        pace = threading.Event()
        got = None
        while time.monotonic() < deadline:
            try:
                got = ask()
            except OSError as error:  # not listening yet
                got = error
            else:
                if good(got):
                    return
            pace.wait(0.1)
        pytest.fail(f"{what} is still {got!r} after {within_s} s\n{self.log.read_text()[-2000:]}")


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """A gateway and one shard that has seen some users."""
    with ExitStack() as stack:
        running = Deployment(tmp_path, stack)
        running.start("shard", "shard-0", USERS)
        yield running


@pytest.fixture
def prometheus(tmp_path: Path, deployment: Deployment) -> Iterator[Prometheus]:
    """A server that has found both processes."""
    gateway = deployment.start("gateway", "gateway")
    with ExitStack() as stack:
        server = Prometheus(tmp_path, gateway, stack)
        server.until("up", {"gateway": 1.0, "shard-0": 1.0})
        yield server


def test_prometheus_discovers_reads_and_judges(prometheus: Prometheus) -> None:
    """Both processes are found through /sd; values, labels,
    recorded rules and alerts come out as they should.
    """
    targets = {
        target["labels"]["instance"]: target
        for target in prometheus.api("targets")["activeTargets"]
    }
    assert targets["shard-0"]["labels"]["shard"] == "shard-0"
    assert targets["gateway"]["labels"]["actor"] == "gateway"
    assert not any(target["lastError"] for target in targets.values())
    prometheus.until("sum by (instance) (echorank_events_total)", {"shard-0": float(USERS)})
    prometheus.until(
        "job:echorank_ingest_lag_records:sum", {"": float((USERS // PARTITIONS - 1) * PARTITIONS)}
    )
    assert prometheus.query('echorank_score_seconds_bucket{le="0.005"}') == {
        "shard-0": float(USERS)
    }
    assert prometheus.query("process_resident_memory_bytes > 1e6").keys() == {"gateway", "shard-0"}
    loaded = [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
    assert len(loaded) == len(list(rules()))
    prometheus.wait(
        lambda: {
            rule["health"] for group in prometheus.api("rules")["groups"] for rule in group["rules"]
        },
        lambda health: health == {"ok"},
        "health of the rules",
    )


def test_prometheus_follows_an_actor_that_moves(
    prometheus: Prometheus, deployment: Deployment
) -> None:
    """A shard that comes back on another port continues its series,
    and its old address is forgotten.
    """
    deployment.processes["shard-0"].kill()
    prometheus.until("up", {"gateway": 1.0, "shard-0": 0.0})
    moved = deployment.start("shard", "shard-0", USERS)
    prometheus.until("up", {"gateway": 1.0, "shard-0": 1.0})
    active = {
        target["labels"]["instance"]: target["scrapeUrl"]
        for target in prometheus.api("targets")["activeTargets"]
    }
    assert active["shard-0"] == f"http://{moved}/metrics"
    assert prometheus.query("count by (instance) (count_over_time(up[5m]))") == {
        "gateway": 1.0,
        "shard-0": 1.0,
    }


def test_the_number_of_series_does_not_depend_on_the_users(
    prometheus: Prometheus, deployment: Deployment
) -> None:
    """A shard that has seen a hundred times the users exposes exactly as many series."""
    deployment.start("shard", "shard-1", 100 * USERS)
    count = 'count by (instance) ({__name__=~"echorank_.*",actor="shard"})'
    prometheus.wait(
        lambda: prometheus.query(count), lambda got: got.keys() == {"shard-0", "shard-1"}, count
    )
    counted = prometheus.query(count)
    assert counted["shard-0"] == counted["shard-1"]
    assert prometheus.query('{__name__=~".*_created"}') == {}
