"""Where results go, checked before the work:
what could not be written at the end is said at the start.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from model.bundle.files import MANIFEST
from training.errors import TrainingError


def check_folder(path: Path, option: str = "--out") -> None:
    """Make the folder, and write to it once.

    Raises:
        TrainingError: it cannot be made or written, or is a published bundle.
    """
    if (path / MANIFEST).exists():
        raise TrainingError(f"{path} holds a published bundle; choose another {option}")
    _probe(path, option)


def check_file(path: Path, option: str) -> None:
    """See that a file can be written there.

    Raises:
        TrainingError: it cannot.
    """
    if path.is_dir():
        raise TrainingError(f"{option} {path} is a directory; name a file")
    if path.exists():
        try:
            with path.open("r+b"):
                return
        except OSError as error:
            raise TrainingError(
                f"cannot write {path}: {error.strerror}; choose another {option}"
            ) from error
    _probe(path.parent, option)


def check_files(paths: Mapping[str, Path | None]) -> None:
    """See that files, by the options that name them, can be written.

    Raises:
        TrainingError: one of them cannot.
    """
    for option, path in paths.items():
        if path is not None:
            check_file(path, option)


def check_bundle(path: Path, option: str = "--out") -> None:
    """See that a bundle can be put there: publishing replaces the whole directory,
    so only another bundle may be in it.

    Raises:
        TrainingError: it holds something else, or cannot be written.
    """
    if path.exists() and not path.is_dir():
        raise TrainingError(f"{option} {path} is a file; name a directory")
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).exists():
        raise TrainingError(
            f"{path} holds other files than a bundle, which would be deleted; choose another "
            f"{option}"
        )
    _probe(path.parent, option)


def _probe(folder: Path, option: str) -> None:
    """Make the folder and a file in it, and leave neither: what comes next may fail."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]  # the deepest first
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise TrainingError(
            f"cannot write to {folder}: {error.strerror or error}; choose another {option}"
        ) from error
    finally:
        for each in made:
            if each.is_dir():
                each.rmdir()
