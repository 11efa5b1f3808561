"""Settings that are sound one by one and cannot be used together:
what is wrong with them, None if nothing is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from model.credentials import shown

FULL_WEIGHT = 10_000


def of_arms(arms: Iterable[Any]) -> str | None:
    """Arms of one name, and live weights that do not sum up."""
    names = [arm.name for arm in arms]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        return f"arm names must differ, but {', '.join(repeated)} stands more than once"
    live = {arm.name: arm.weight for arm in arms if arm.role == "live"}
    if sum(live.values()) != FULL_WEIGHT:
        shares = (
            ", ".join(f"{name} {weight}" for name, weight in live.items()) or "there is no live arm"
        )
        return (
            f"weights of the live arms must sum to {FULL_WEIGHT}, got {sum(live.values())} "
            f"({shares})"
        )
    return None


def of_directories(directories: Mapping[str, str]) -> str | None:
    """Two settings that name one directory, by setting."""
    for (name, one), (other, another) in combinations(directories.items(), 2):
        if _place(one) == _place(another):
            return f"{name} and {other} must be two directories, both are {shown(one)}"
    return None


def _place(text: str) -> str:
    """What all names of one directory have in common."""
    text = text.removeprefix("file://")
    return shown(text).rstrip("/") if "://" in text else os.path.abspath(text)  # noqa: PTH100 (it takes `..` away too)


def of_paths(paths: Mapping[str, str]) -> str | None:
    """Paths into one JSON object, by what they lead to,
    that end in one place or on the way to another.
    """
    split = {name: tuple(path.split(".")) for name, path in paths.items()}
    for name, path in split.items():
        if not all(path):
            return f"{name} is {paths[name]!r}: a part between two dots is empty"
        for other, beyond in split.items():
            if other != name and path == beyond[: len(path)]:
                how = (
                    "are both"
                    if path == beyond
                    else f"cannot both be read, {other} being {paths[other]!r} and {name}"
                )
                return (
                    f"{name} and {other} {how} {paths[name]!r}; give each of user, item, time "
                    "and action its own path"
                )
    return None
