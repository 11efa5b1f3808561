"""The files of a bundle, written so that a reader sees all of it or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from safetensors.numpy import load_file, save_file

from model.config import ModelConfig
from model.errors import BundleError
from model.order import RECORD, Order, order_of

FORMAT = 4
CONFIG, WEIGHTS, ITEMS, GOLDEN, MANIFEST = (
    "config.json",
    "weights.safetensors",
    "items.parquet",
    "golden.json",
    "manifest.json",
)


@dataclass(frozen=True, kw_only=True)
class BundleContent:
    """What the files hold."""

    version: str
    config: ModelConfig
    items: tuple[str, ...]
    arrays: dict[str, npt.NDArray[np.float32]]
    golden: dict[str, Any]
    metadata: dict[str, Any]
    recommend: Mapping[str, Any]  # the order, and what was measured to choose it

    @property
    def order(self) -> Order:
        """By what recommendations are sorted."""
        return order_of(self.recommend)


def write(
    path: Path,
    config: ModelConfig,
    items: tuple[str, ...],
    counts: npt.NDArray[np.float64],
    arrays: dict[str, npt.NDArray[np.float32]],
    golden: dict[str, Any],
    metadata: dict[str, Any],
    recommend: Mapping[str, Any] | None = None,
) -> str:
    """Write a bundle beside `path`, then move it there in one step; returns the version."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary / WEIGHTS)
    keys = np.array([xxhash.xxh64_intdigest(item.encode()) for item in items], dtype=np.uint64)
    pq.write_table(pa.table({"item": list(items), "key": keys, "clicks": counts}), temporary / ITEMS)
    about = {"model": json.loads(config.to_json()), "metadata": metadata, RECORD: dict(recommend or {})}
    _write_json(temporary / CONFIG, about)
    shutil.copymode(temporary / CONFIG, temporary / WEIGHTS)  # safetensors lets nobody else read what it writes
    _write_json(temporary / GOLDEN, golden)
    files = {name: _digest(temporary / name) for name in (CONFIG, WEIGHTS, ITEMS, GOLDEN)}
    version = _version(files)
    _write_json(temporary / MANIFEST, {"format": FORMAT, "version": version, "files": files})
    _swap(temporary, path)
    return version


def read(path: Path) -> BundleContent:
    """Read a bundle after checking each file against the manifest.

    Raises:
        BundleError: names the file and what is wrong with it.
    """
    if not (path / MANIFEST).is_file():
        raise BundleError(
            f"no bundle at {path}: {MANIFEST} is missing; train a model on your clicks, such as by `echorank train "
            f"file --path clicks.parquet --out out/model` (docs/training.md), then `echorank publish out/model --out "
            f"{path}`, or point `arms[].bundle` at an existing one"
        )
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        _check(path, manifest)
        content = json.loads((path / CONFIG).read_text())
        recommend = content.get(RECORD, {})
        order_of(recommend)
        return BundleContent(
            version=manifest["version"],
            config=ModelConfig.from_json(json.dumps(content["model"])),
            items=_items(path / ITEMS),
            arrays=load_file(path / WEIGHTS),
            golden=json.loads((path / GOLDEN).read_text()),
            metadata=content["metadata"],
            recommend=recommend,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"the bundle at {path} cannot be read: {error}; publish it again") from error


def _items(path: Path) -> tuple[str, ...]:
    with pq.ParquetFile(path) as file:  # read_table imports pandas: a second of processor in each shard that starts
        return tuple(file.read(columns=["item"])["item"].to_pylist())


def _check(path: Path, manifest: dict[str, Any]) -> None:
    if manifest["format"] != FORMAT:
        raise BundleError(
            f"the bundle at {path} has format {manifest['format']}, this version reads {FORMAT}; publish it again"
        )
    for name, digest in manifest["files"].items():
        if not (path / name).is_file():
            raise BundleError(f"the bundle at {path} lacks {name}; publish it again")
        if (found := _digest(path / name)) != digest:
            raise BundleError(
                f"{path / name} is damaged: its digest is {found}, the manifest says {digest}; publish the bundle "
                f"again or restore the file"
            )
    if (found := _version(manifest["files"])) != manifest["version"]:
        raise BundleError(f"{path / MANIFEST} is damaged: version {manifest['version']} should be {found}")


def _swap(temporary: Path, path: Path) -> None:
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    temporary.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _version(files: dict[str, str]) -> str:
    return hashlib.blake2b(json.dumps(files, sort_keys=True).encode(), digest_size=8).hexdigest()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
