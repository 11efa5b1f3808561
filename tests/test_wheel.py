"""What is installed: the whole product, and nothing of its benchmarks, studies and tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PRODUCT = ("model", "actors", "cluster", "rpc", "training", "monitoring")
DATA = {
    "cluster/kuberay.yaml",
    "cluster/ray-cluster.yaml",
    "rpc/service_config.json",
    "rpc/echorank_pb2.pyi",
    "rpc/events_pb2.pyi",
}


def modules(folder: str) -> set[str]:
    """All Python files of a folder, as paths below the root."""
    return {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py")}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files of a wheel that is built from a copy: a build leaves files behind."""
    source = tmp_path_factory.mktemp("source")
    for folder in (*PRODUCT, "bench", "tests"):
        shutil.copytree(ROOT / folder, source / folder)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    command = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([sys.executable, "-m", *command, source / "out", source], check=True)
    [wheel] = (source / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_has_the_product_and_nothing_else(installed: set[str]) -> None:
    """Every module of the product and its data files; no benchmark, reference model or test."""
    assert installed == DATA.union(*map(modules, PRODUCT))
