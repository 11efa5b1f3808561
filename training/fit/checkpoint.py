"""A trained model as a directory: what `echorank train` leaves and `echorank publish` takes.

weights.safetensors   the network's parameters
items.parquet         the catalogue in row order: item, count, and the count that cold users go by
model.json            configuration, calibration and metadata
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from model.arrays import Doubles, Longs
from model.config import ModelConfig
from model.network.network import Network
from training.errors import DatasetError

WEIGHTS = "weights.safetensors"
ITEMS = "items.parquet"
MODEL = "model.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that a bundle is made from."""

    network: Network
    items: tuple[str, ...]  # (V,)
    counts: Longs  # (V,) events of each item in the training part
    calibration: Doubles  # (3, 2): slope and shift of FULL, SEQUENCE and PRIOR
    metadata: dict[str, Any]  # of JSON values
    # of `training.measure.order`; empty where nothing was measured
    recommend: dict[str, Any] = field(default_factory=dict)
    levels: dict[str, Any] = field(default_factory=dict)
    # (V,) clicks an item of which users without any are answered, see `training.recipe.recent`;
    # None, as in older ones: `counts`
    popular: Doubles | None = None

    @property
    def answering(self) -> Doubles:
        """Clicks an item (V,) of which users without any are answered."""
        return self.counts.astype(np.float64) if self.popular is None else self.popular

    def save(self, path: Path) -> None:
        """Write the directory `path`; files of an older model are replaced
        once all new ones are there.
        """
        path.mkdir(parents=True, exist_ok=True)
        about = {
            "config": json.loads(self.network.config.to_json()),
            "calibration": self.calibration.tolist(),
            "metadata": self.metadata,
            "recommend": self.recommend,
            "levels": self.levels,
        }
        new = {name: path / f".{name}.new" for name in (WEIGHTS, ITEMS, MODEL)}
        new[MODEL].write_text(json.dumps(about, indent=2) + "\n")
        save_file(dict(self.network.state_dict()), new[WEIGHTS])
        # safetensors lets nobody else read what it writes
        shutil.copymode(new[MODEL], new[WEIGHTS])
        columns = {"item": list(self.items), "count": self.counts}
        if self.popular is not None:
            columns["popular"] = self.popular
        parquet.write_table(pa.table(columns), new[ITEMS])
        (path / MODEL).unlink(missing_ok=True)
        for name, file in new.items():
            file.replace(path / name)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read what `save` wrote.

        Raises:
            DatasetError: the directory is incomplete or damaged.
        """
        try:
            about = json.loads((path / MODEL).read_text())
            table = parquet.read_table(path / ITEMS)
            items = tuple(table["item"].to_pylist())
            network = Network(ModelConfig.from_json(json.dumps(about["config"])), len(items))
            network.load_state_dict(load_file(path / WEIGHTS))
            return cls(
                network=network.eval(),
                items=items,
                counts=np.asarray(table["count"].to_numpy()),
                calibration=np.array(about["calibration"]),
                metadata=about["metadata"],
                recommend=about.get("recommend", {}),
                levels=about.get("levels", {}),
                popular=np.asarray(table["popular"].to_numpy())
                if "popular" in table.column_names
                else None,
            )
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            raise DatasetError(
                f"{path} holds no complete trained model ({error}); train it again: echorank "
                f"train ml-100k --out {path}"
            ) from error
