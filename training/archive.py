"""The archive that a running system writes: Parquet files below `partition=P/`, a row a click."""

from __future__ import annotations

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
        places = ["partition", "offset"]
        if missing := {*places, "user", "item", "action", "time_ms"} - set(table.column_names):
            raise DatasetError(f"{directory} is no archive: it has no {sorted(missing)}; give archive.directory")
        table = table.set_column(
            table.column_names.index("partition"), "partition", table["partition"].cast(pa.int32())
        ).sort_by([(place, "ascending") for place in places])
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DatasetError(
            f"cannot read the archive {directory}: {error}; give archive.directory of the running system"
        ) from error
    return columns.of_table(table, {"time": "time_ms"}, "ms", directory)
