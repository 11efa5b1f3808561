"""The command line, as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner, Result

from cluster.cli.main import app
from cluster.settings.config import Settings, load
from model.config import ModelConfig
from model.network.export import write_bundle
from monitoring.discovery import Target
from monitoring.exporter import Exporter
from monitoring.metrics import Metrics
from tests.cluster.operate.fake_gateway import fake_gateway
from tests.model.models import VARIANTS, network

ROOT = Path(__file__).parents[3]
HEAVY = "{'torch', 'ray', 'grpc', 'pydantic', 'kafka', 'numpy', 'prometheus_client', 'yaml'}"
COMMANDS = ["up", "demo", "train", "tune", "publish", "evaluate", "score", "recommend", "status"]
COMMANDS += [
    "config check",
    "config print",
    "config docs",
    "archive ls",
    "archive verify",
    "replay",
]

# Stands in for cluster.wiring.start, which starts Ray: what `up` does with a system shows without
# one.
FAKE_WIRING = """
import sys, types

class System:
    gateway_address, monitoring_address, scraped_at = "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:2"
    bootstrap_servers, broker_kind = "127.0.0.1:3", "embedded"
    def wait_ready(self, timeout_s, say):
        assert timeout_s is None
        say("Catching up: 5 records behind.")
        print("ready", flush=True)
    def check_alive(self): pass
    def stop(self): print("snapshots written", flush=True)

sys.modules["cluster.wiring.start"] = wiring = types.ModuleType("cluster.wiring.start")
wiring.start_system = lambda settings: System()
import cluster.wiring
cluster.wiring.start = wiring
from cluster.cli.main import app
app(["up"])
"""


@pytest.fixture(autouse=True)
def _a_directory_without_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ECHORANK__")]:
        monkeypatch.delenv(name)


@pytest.fixture
def shipped_model(tmp_path: Path) -> Path:
    """A small model where the shipped file names one."""
    write_bundle(
        tmp_path / "out" / "bundle",
        network(ModelConfig(**VARIANTS["small"])),
        ["a", "b"],
        np.ones(2),
        {},
    )
    return tmp_path / "out" / "bundle"


def run(*arguments: str) -> Result:
    """What a command prints, and its exit code."""
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, arguments)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_teaches_by_an_example(command: str) -> None:
    """--help ends well and shows a command line to copy."""
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"echorank {command}" in result.stdout


def test_help_loads_nothing_heavy() -> None:
    """--help answers at once, because no command's libraries are imported for it."""
    program = (
        "import sys\nfrom cluster.cli.main import app\n"
        f"try:\n    app(['--help'])\nexcept SystemExit:\n    print(sorted({HEAVY} & "
        "set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stderr.strip() == "[]"
    assert "recommend" in done.stdout


def test_version_is_that_of_the_package() -> None:
    """One line, from the package's metadata."""
    assert run("--version").stdout == f"echorank {metadata.version('echorank')}\n"


@pytest.mark.parametrize("uri", ["s3://", "s3:/x", "foo://bar", "file:relative"])
@pytest.mark.parametrize(
    "command", ["config check", "config print", "archive ls", "replay -p 0", "status", "up"]
)
def test_untidy_directories_are_one_line_in_every_command(
    command: str, uri: str, tmp_path: Path
) -> None:
    """No command that reads the settings ends in a traceback."""
    (tmp_path / "ray_config.yaml").write_text(f"state: {{directory: '{uri}'}}\n")
    result = run(*command.split())
    assert result.exit_code == 2
    headline, line = result.stderr.splitlines()
    assert headline == "echorank: ray_config.yaml: 1 problem(s)"
    assert line.startswith(f"  state.directory: '{uri}'")


def test_an_untidy_directory_of_archive_ls_is_one_line() -> None:
    """What the option names is held to the same rules as the setting."""
    result = run("archive", "ls", "--directory", "foo://bar")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "--directory: 'foo://bar'" in result.stderr


@pytest.mark.parametrize("form", ["{}", "--config {}", "-c {}", "{0} --config {0}"])
def test_config_check_accepts_the_shipped_file(form: str, shipped_model: Path) -> None:
    """The file of the repository is valid in each form that names it,
    and the answer says what will run.
    """
    assert shipped_model.is_dir()
    result = run("config", "check", *form.format(ROOT / "ray_config.yaml").split())
    assert result.exit_code == 0
    assert result.stdout == "The configuration is valid: 2 shards, live arms main 100 %.\n"


def test_config_check_takes_one_file(tmp_path: Path) -> None:
    """Two different files are a mistake, not a choice."""
    (tmp_path / "other.yaml").write_text("{}")
    result = run("config", "check", str(ROOT / "ray_config.yaml"), "--config", "other.yaml")
    assert (result.exit_code, "name one" in result.stderr) == (2, True)


def test_configuration_mistakes_exit_with_2_and_one_line_each(tmp_path: Path) -> None:
    """Every mistake is a line on standard error; there is no traceback."""
    (tmp_path / "ray_config.yaml").write_text("serving: {prt: 1, shards: 0}\n")
    result = run("config", "check")
    assert result.exit_code == 2
    assert result.stdout == ""
    headline, *lines = result.stderr.splitlines()
    assert headline == "echorank: ray_config.yaml: 2 problem(s)"
    assert [line.split(":")[0].strip() for line in lines] == ["serving.shards", "serving.prt"]


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    """With --debug the error itself comes out."""
    result = run("--debug", "config", "check", str(tmp_path / "nowhere.yaml"))
    assert type(result.exception).__name__ == "ConfigError"


def test_config_print_is_a_file_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed gives the same settings, the environment's overrides included."""
    monkeypatch.setenv("ECHORANK__SERVING__SHARDS", "5")
    (tmp_path / "printed.yaml").write_text(run("config", "print").stdout)
    assert (
        load(tmp_path / "printed.yaml", {})
        == load(None, {"ECHORANK__SERVING__SHARDS": "5"})
        != Settings()
    )


@pytest.mark.parametrize(
    "redirection", ["> ray_config.yaml", ">> ray_config.yaml", "| tee ray_config.yaml"]
)
@pytest.mark.parametrize("before", ["serving: {shards: 7}\n", ""])
def test_config_print_over_the_file_it_reads_is_refused(
    redirection: str, before: str, tmp_path: Path
) -> None:
    """The shell has emptied the file by then:
    no defaults over the user's settings, but a way that works.
    """
    (tmp_path / "ray_config.yaml").write_text(before)
    program = (
        f"set -o pipefail; (sleep 0.5; exec {sys.executable} -m cluster.cli.main config "
        f"print) {redirection}"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", program],
        check=False,
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "echorank config print --out" in done.stderr
    assert (tmp_path / "ray_config.yaml").read_text() == (before if ">>" in redirection else "")


def test_config_print_reads_a_pipe() -> None:
    """A pipe has no size, and is no empty file."""
    program = (
        f"{sys.executable} -m cluster.cli.main config print --config <(echo 'serving: "
        f"{{shards: 7}}')"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", program], check=True, env=environ, capture_output=True, text=True, timeout=60
    )
    assert "  shards: 7 " in done.stdout


def test_config_print_writes_a_new_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--out takes a new name or an empty file, and leaves a file with content alone;
    secrets are for the owner only.
    """
    monkeypatch.setenv("ECHORANK__SERVING__ADMIN_TOKEN", "hunter2")
    (tmp_path / "ray_config.yaml").touch()
    assert run("config", "print", "--out", "ray_config.yaml").exit_code == 0
    written = (tmp_path / "ray_config.yaml").read_text()
    assert "hunter2" not in written
    assert run("config", "print").stdout == written
    refused = run("config", "print", "--out", "ray_config.yaml")
    assert (refused.exit_code, (tmp_path / "ray_config.yaml").read_text()) == (2, written)
    assert run("config", "print", "--secrets", "--out", "secret.yaml").exit_code == 0
    assert (tmp_path / "secret.yaml").stat().st_mode & 0o077 == 0
    assert load(tmp_path / "secret.yaml", {}).serving.admin_token == "hunter2"


def test_config_docs_lists_a_section() -> None:
    """Path, default, meaning and variable of each setting of the section; others are left out."""
    result = run("config", "docs", "serving.port")
    assert "ECHORANK__SERVING__PORT" in result.stdout
    assert "50051" in result.stdout
    assert "monitoring.port" not in result.stdout
    assert run("config", "docs", "nonsense").exit_code == 2


def test_score_prints_items_and_origin() -> None:
    """A table in the order of the items, then where the answer came from; --json for programs."""
    with fake_gateway() as address:
        text = run("score", "196", "242", "302", "--address", address)
        data = json.loads(run("score", "196", "242", "302", "--json", "--address", address).stdout)
    assert text.exit_code == 0
    assert text.stdout.index("242") < text.stdout.index("302")
    assert (
        "FULL answer of arm main, model 00c0ffee, partition 3 up to offset 120; last click 1.5 s "
        "ago"
    ) in text.stdout
    assert data["probabilities"] == {"242": 0.5, "302": 0.25}
    assert data["origin"]["level"] == "LEVEL_FULL"
    assert data["origin"]["stale"] is False


def test_recommend_passes_k_and_seen_on() -> None:
    """-k items, without those seen unless asked for."""
    with fake_gateway() as address:
        new = run("recommend", "196", "-k", "2", "--json", "--address", address)
        every = run("recommend", "196", "-k", "1", "--seen", "--json", "--address", address)
    assert list(json.loads(new.stdout)["probabilities"]) == ["new-0", "new-1"]
    assert list(json.loads(every.stdout)["probabilities"]) == ["any-0"]


def test_a_refused_request_is_one_line() -> None:
    """The status code and the server's words on standard error, exit code 1."""
    with fake_gateway() as address:
        result = run("score", "nobody", "242", "--address", address)
    assert result.exit_code == 1
    assert (
        result.stderr == f"echorank: {address} answered INVALID_ARGUMENT: user must not be nobody\n"
    )


@pytest.fixture
def monitored(tmp_path: Path) -> Iterator[None]:
    """Metrics of a gateway and a shard, and of one actor that is gone;
    ./ray_config.yaml names the gateway's.
    """
    metrics = Metrics(CollectorRegistry())
    metrics.ingest_lag_records.labels("0").set(12)
    metrics.standby_lag_records.labels("0").set(7)
    metrics.snapshot_age_seconds.labels("0").set(4)
    metrics.state_users.labels("main", "hot").set(900)
    metrics.state_users.labels("main", "cold").set(43)
    metrics.state_bytes_per_user.labels("main").set(3210)
    metrics.folded_total.labels("main").inc(1000)
    metrics.unknown_items_total.labels("main", "event").inc(874)
    metrics.unknown_items_total.labels("main", "request").inc(5000)
    with Exporter(metrics.registry) as shard:
        targets = [
            Target(kind="shard", name="shard-0", address=shard.address),
            Target(kind="ingest", name="ingest-0", address="127.0.0.1:9"),
        ]
        with Exporter(CollectorRegistry(), targets=lambda: targets) as gateway:
            port = gateway.address.rpartition(":")[2]
            (tmp_path / "ray_config.yaml").write_text(f"monitoring: {{port: {port}}}\n")
            yield


@pytest.mark.usefixtures("monitored")
def test_status_joins_routing_health_and_metrics() -> None:
    """Partitions with owner, lag and snapshot age; arms with users and bytes;
    what is missing is null and named.
    """
    with fake_gateway() as address:
        data = json.loads(run("status", "--json", "--address", address).stdout)
        text = run("status", "--address", address)
    assert data["health"] == "SERVING"
    assert data["routing_version"] == 7
    owned, orphan = data["partitions"]
    assert (owned["partition"], owned["shard"], owned["epoch"]) == (0, "shard-0", 2)
    assert (owned["lag_records"], owned["snapshot_age_s"]) == (12, 4.0)
    assert (owned["ready"], owned["standby"]["shard"], owned["standby"]["epoch"]) == (
        True,
        "shard-1",
        3,
    )
    assert (owned["standby"]["ready"], owned["standby"]["lag_records"]) == (False, 7)
    assert (orphan["shard"], orphan["lag_records"], orphan["standby"]) == ("", None, None)
    assert [(arm["name"], arm["users"], arm["bytes_per_user"]) for arm in data["arms"]] == [
        ("main", 943, 3210.0)
    ]
    assert data["problems"] == ["ingest-0 at 127.0.0.1:9: [Errno 111] Connection refused"]
    assert data["arms"][0]["unknown_items"] == 0.874
    (warning,) = data["warnings"]
    assert warning.startswith(
        "arm main: 874 of 1,000 clicks (87%) are on items that its model does not know"
    )
    assert data["not_healthy"] == [
        "no ready owner of partition 1",
        "no answer from ingest-0",
        "unknown items of main",
    ]
    assert "87.4%" in text.stdout
    assert warning[:50] in text.stdout
    assert text.exit_code == 1
    assert (
        f"SERVING, but not healthy: {'; '.join(data['not_healthy'])}" in text.stdout.splitlines()[0]
    )
    assert all(
        part in text.stdout for part in ("SERVING", "nobody", "00c0ffee", "100 %", "943", "3,210")
    )


def test_status_without_metrics_still_shows_the_routing(tmp_path: Path) -> None:
    """No metrics server: gaps and a line that says where it was looked
    for; not serving exits with 1.
    """
    (tmp_path / "ray_config.yaml").write_text("monitoring: {port: 9}\n")
    with fake_gateway(health_pb2.HealthCheckResponse.NOT_SERVING) as address:
        result = run("status", "--address", address)
    assert result.exit_code == 1
    assert "NOT_SERVING" in result.stdout
    assert "http://127.0.0.1:9/sd" in result.stdout


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_up_drains_and_stops_on_a_signal(stop: signal.Signals, tmp_path: Path) -> None:
    """SIGTERM and Ctrl-C stop the system in order, and the exit code is 0."""
    with subprocess.Popen(
        [sys.executable, "-c", FAKE_WIRING],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "broker" in line and "embedded" in line:
                break
        process.send_signal(stop)
        rest, _ = process.communicate(timeout=20)
    assert process.returncode == 0, rest
    assert "ready\n" in seen
    assert any("127.0.0.1:1" in line for line in seen)
    assert rest.splitlines()[-2:] == ["snapshots written", "Stopped."]


def test_up_tells_a_service_manager_how_far_it_is(tmp_path: Path) -> None:
    """systemd's Type=notify: progress, then readiness, then the stop, however long each takes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": str(tmp_path / "notify")}
        with subprocess.Popen(
            [sys.executable, "-c", FAKE_WIRING], cwd=tmp_path, env=environ
        ) as process:
            told = [manager.recv(1000).decode().splitlines()[0] for _ in range(3)]
            process.send_signal(signal.SIGTERM)
            told.append(manager.recv(1000).decode().splitlines()[0])
    assert told == [
        "STATUS=Starting broker, Ray and actors ...",
        "STATUS=Catching up: 5 records behind.",
        "READY=1",
        "STOPPING=1",
    ]


@pytest.mark.parametrize("address", ["foo", "::1:50051", "http://127.0.0.1:50051"])
@pytest.mark.parametrize(
    "command", [["score", "u", "i"], ["status"], ["snapshot"], ["erase", "u", "--yes"]]
)
def test_an_untidy_address_is_one_clear_line(command: list[str], address: str) -> None:
    """Exit code 2, what was given and how it should be written; never a traceback."""
    done = run(*command, "--address", address)
    assert done.exit_code == 2
    [line] = done.stderr.splitlines()
    assert line.startswith(
        f"echorank: the address {address!r} is no host:port; write it like gateway:50051 or"
    )
