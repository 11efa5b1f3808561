"""The committed stubs in rpc/ are what the protocol files generate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def generate(into: Path) -> None:
    """Run the same command as `make stubs`, writing below `into`."""
    protocols = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "proto").glob("*.proto"))
    outputs = [f"--{kind}_out={into}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-Irpc=proto", *outputs, *protocols]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)


def test_stubs_are_fresh(tmp_path: Path) -> None:
    """Generating rpc/ again gives the committed files, byte for byte;
    if not, run `make stubs` and commit.
    """
    generate(tmp_path)
    fresh = {path.name: path.read_text() for path in (tmp_path / "rpc").iterdir()}
    committed = {path.name: path.read_text() for path in (ROOT / "rpc").glob("*_pb2*.py*")}
    assert fresh.keys() == committed.keys()
    stale = [name for name, text in fresh.items() if committed[name] != text]
    assert not stale, f"{stale} differ from proto/: run `make stubs` and commit"
