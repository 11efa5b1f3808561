"""The files of a bundle, written so that a reader sees all of it or nothing.

A version that is served while another is published over it is kept beside the directory, as
`.NAME.VERSION`, so that who serves it can still start again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from safetensors.numpy import load, save_file

from model.arrays import Doubles, Floats
from model.bundle import lease as bundle_lease
from model.config import ModelConfig
from model.errors import BundleError
from model.levels import RECORD as LEVELS
from model.levels import Level, best_of
from model.order import RECORD, Order, order_of

FORMAT = 5  # what the arrays mean: 5 has membership by votes
SWAPPED_TRIES = 5  # a reader in the middle of a swap reads again
VERSION = re.compile(r"[0-9a-f]{16}")
CONFIG = "config.json"
WEIGHTS = "weights.safetensors"
ITEMS = "items.parquet"
GOLDEN = "golden.json"
MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class BundleContent:
    """What the files hold."""

    version: str
    config: ModelConfig
    items: tuple[str, ...]
    arrays: dict[str, Floats]
    golden: dict[str, Any]
    metadata: dict[str, Any]
    recommend: Mapping[str, Any]  # the order, and what was measured to choose it
    levels: Mapping[str, Any]  # the best level, and what was measured to choose it

    @property
    def order(self) -> Order:
        """By what recommendations are sorted."""
        return order_of(self.recommend)

    @property
    def best(self) -> Level:
        """The most complete level that it answers at."""
        return best_of(self.levels)


def write(
    path: Path,
    config: ModelConfig,
    items: tuple[str, ...],
    counts: Doubles,
    arrays: dict[str, Floats],
    golden: dict[str, Any],
    metadata: dict[str, Any],
    recommend: Mapping[str, Any] | None = None,
    levels: Mapping[str, Any] | None = None,
) -> str:
    """Write a bundle beside `path`, then move it there in one step; returns the version."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary / WEIGHTS
    )
    keys = np.array([xxhash.xxh64_intdigest(item.encode()) for item in items], dtype=np.uint64)
    pq.write_table(
        pa.table({"item": list(items), "key": keys, "clicks": counts}), temporary / ITEMS
    )
    about = {
        "model": json.loads(config.to_json()),
        "metadata": metadata,
        RECORD: dict(recommend or {}),
        LEVELS: dict(levels or {}),
    }
    _write_json(temporary / CONFIG, about)
    # safetensors lets nobody else read what it writes
    shutil.copymode(temporary / CONFIG, temporary / WEIGHTS)
    _write_json(temporary / GOLDEN, golden)
    files = {name: _digest(temporary / name) for name in (CONFIG, WEIGHTS, ITEMS, GOLDEN)}
    version = _version(files)
    _write_json(temporary / MANIFEST, {"format": FORMAT, "version": version, "files": files})
    _swap(temporary, path)
    return version


def read(path: Path) -> BundleContent:
    """Read a bundle after checking each file against the manifest;
    one that is replaced meanwhile is read again.

    Raises:
        BundleError: names the file and what is wrong with it.
    """
    for _ in range(SWAPPED_TRIES):
        before = version_at(path)
        try:
            return _read(path)
        except BundleError:
            if before is not None and version_at(path) == before:
                raise
    return _read(path)


def version_at(path: Path) -> str | None:
    """The version that the manifest at `path` names, unchecked; None without one."""
    try:
        version = json.loads((path / MANIFEST).read_text())["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(version)


def kept(path: Path, version: str) -> Path:
    """Where a version lies that was served from `path` when another one was published over it."""
    return path.with_name(f".{path.name}.{version}")


def _read(path: Path) -> BundleContent:
    if not path.exists() and (_aside(path) / MANIFEST).is_file():
        path = _aside(path)  # in the middle of a swap, or after one that was killed there
    if not (path / MANIFEST).is_file():
        raise BundleError(
            f"no bundle at {path}: {MANIFEST} is missing; train a model on your clicks, such as "
            "by `echorank train file --path clicks.parquet --out out/model` (docs/training.md), "
            f"then `echorank publish out/model --out {path}`, or point `arms[].bundle` at an "
            "existing one"
        )
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        files = _check(path, manifest)
        content = json.loads(files[CONFIG])
        recommend = content.get(RECORD, {})
        levels = content.get(LEVELS, {})
        order_of(recommend)
        best_of(levels)
        return BundleContent(
            version=manifest["version"],
            config=ModelConfig.from_json(json.dumps(content["model"])),
            items=_items(files[ITEMS]),
            arrays=load(files[WEIGHTS]),
            golden=json.loads(files[GOLDEN]),
            metadata=content["metadata"],
            recommend=recommend,
            levels=levels,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"the bundle at {path} cannot be read: {error}; publish it again"
        ) from error


def _items(content: bytes) -> tuple[str, ...]:
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        # read_table imports pandas: a second of processor in each shard that starts
        return tuple(file.read(columns=["item"])["item"].to_pylist())


def _check(path: Path, manifest: dict[str, Any]) -> dict[str, bytes]:
    """The files' bytes, each read once:
    what was checked is what is used, whatever is moved meanwhile.
    """
    if manifest["format"] != FORMAT:
        made = "an older" if manifest["format"] < FORMAT else "a newer"
        raise BundleError(
            f"the bundle at {path} was made by {made} version (format {manifest['format']}; this "
            f"one reads {FORMAT}): train and publish again with this version"
        )
    files = {}
    for name, digest in manifest["files"].items():
        if not (path / name).is_file():
            raise BundleError(f"the bundle at {path} lacks {name}; publish it again")
        files[name] = (path / name).read_bytes()
        if (found := _digest_of(files[name])) != digest:
            raise BundleError(
                f"{path / name} is damaged: its digest is {found}, the manifest says {digest}; "
                "publish the bundle again or restore the file"
            )
    if (found := _version(manifest["files"])) != manifest["version"]:
        raise BundleError(
            f"{path / MANIFEST} is damaged: version {manifest['version']} should be {found}"
        )
    return files


def _swap(temporary: Path, path: Path) -> None:
    """Put a bundle in the place of another,
    of which a copy stays where a running system serves it.
    """
    old = _aside(path)
    version = version_at(path)
    served = bundle_lease.is_held(path)
    shutil.rmtree(old, ignore_errors=True)
    if not served:
        _drop_kept(path)
    if path.exists():
        path.rename(old)
    temporary.rename(path)
    if served and version not in (None, version_at(path)) and not kept(path, str(version)).exists():
        old.rename(kept(path, str(version)))
    shutil.rmtree(old, ignore_errors=True)


def _drop_kept(path: Path) -> None:
    for copy in path.parent.glob(f".{path.name}.*"):
        if VERSION.fullmatch(copy.name.removeprefix(f".{path.name}.")):
            shutil.rmtree(copy, ignore_errors=True)


def _aside(path: Path) -> Path:
    """Where a bundle lies while another one takes its place."""
    return path.with_name(f".{path.name}.old")


def _digest(path: Path) -> str:
    return _digest_of(path.read_bytes())


def _digest_of(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _version(files: dict[str, str]) -> str:
    return hashlib.blake2b(json.dumps(files, sort_keys=True).encode(), digest_size=8).hexdigest()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
