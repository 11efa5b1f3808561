"""`echorank config check`, `print` and `docs`, as a user meets them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cluster.settings.config import Settings, load
from model.config import ModelConfig
from model.network.export import write_bundle
from tests.cluster.cli.command_line import ROOT, run
from tests.model.models import VARIANTS, network


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
