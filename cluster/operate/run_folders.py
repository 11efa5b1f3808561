"""Directories of runs with an embedded broker, whose log ended with them:
`run-*` below states and archive.
"""

from __future__ import annotations

from pathlib import Path


def runs_below(root: str, option: str) -> str:
    """What to do where nothing was found at `root`:
    name one of the runs below it by `option`, or check the path.
    """
    if "://" not in root:
        runs = sorted(Path(root).glob("run-*"), key=lambda run: run.stat().st_mtime, reverse=True)
        if runs:
            return (
                "runs with an embedded broker have their own: name one, the newest is "
                f"{option} {runs[0]}"
            )
    return f"check the path, which {option} overrides"
