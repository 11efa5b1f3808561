"""The archive that a running system writes: Parquet files below `partition=P/date=D/`, a row a click."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pyarrow import fs, parquet

from training import columns
from training.clicklog import ClickLog
from training.errors import DatasetError


def read(directory: str) -> ClickLog:
    """All clicks of an archive (a path or a file-system URI), in the order of partition and offset: the log's own.

    Raises:
        DatasetError: there is no archive, or it cannot be read.

    """
    try:
        filesystem, root = (
            fs.FileSystem.from_uri(directory) if "://" in directory else (fs.LocalFileSystem(), directory)
        )
        table = parquet.read_table(root, filesystem=filesystem)
        if missing := {"partition", "offset", "user", "item", "action", "time_ms"} - set(table.column_names):
            raise DatasetError(f"{directory} is no archive: it has no {sorted(missing)}; give archive.directory")
        table = _in_log_order(table)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DatasetError(
            f"cannot read the archive {directory}: {error}; give archive.directory of the running system"
        ) from error
    return columns.of_table(table, {"time": "time_ms"}, "ms", directory)


def _in_log_order(table: pa.Table) -> pa.Table:
    """The rows by partition and offset; each offset once, should files overlap."""
    partitions, offsets = table["partition"].cast(pa.int32()).to_numpy(), table["offset"].to_numpy()
    order = np.lexsort((offsets, partitions))
    partitions, offsets = partitions[order], offsets[order]
    repeated = np.append(False, (np.diff(partitions) == 0) & (np.diff(offsets) == 0))
    return table.take(pa.array(order[~repeated]))
