"""The command line, as a user meets it."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.cluster.cli.command_line import ROOT, run

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


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    """With --debug the error itself comes out."""
    result = run("--debug", "config", "check", str(tmp_path / "nowhere.yaml"))
    assert type(result.exception).__name__ == "ConfigError"


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
