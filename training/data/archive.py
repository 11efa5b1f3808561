"""The archive that a running system writes:
Parquet files below `partition=P/date=D/`, a row a click.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pyarrow import fs, parquet

from model.credentials import shown
from training.data import columns
from training.data.clicklog import ClickLog
from training.data.remarks import Remarks, Say, to_stderr
from training.errors import DatasetError

TEXTS = ("user", "item", "action")


def read(directory: str, say: Say = to_stderr) -> ClickLog:
    """All clicks of an archive (a path or a file-system URI),
    in the order of partition and offset: the log's own.

    Times are those that serving folds, so what looks like a wrong unit is said and taken as it is.

    Raises:
        DatasetError: there is no archive, or it cannot be read.
    """
    said = shown(directory)
    try:
        filesystem, root = (
            fs.FileSystem.from_uri(directory)
            if "://" in directory
            else (fs.LocalFileSystem(), directory)
        )
        table = parquet.read_table(root, filesystem=filesystem)
        if missing := {"partition", "offset", "user", "item", "action", "time_ms"} - set(
            table.column_names
        ):
            raise DatasetError(
                f"{said} is no archive: it has no {sorted(missing)}; give archive.directory"
            )
        table = _in_log_order(_wide(table))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DatasetError(
            f"cannot read the archive {said}: {shown(str(error))}; give archive.directory of the "
            "running system"
        ) from None  # its traceback would show what the message does not
    remarks = Remarks()
    log = columns.of_table(table, {"time": "time_ms"}, "ms", said, remarks, strict=False)
    remarks.tell(say)
    if not len(log):
        raise DatasetError(
            f"the archive {said} holds no click yet; train when the running system has written some"
        )
    return log


def _wide(table: pa.Table) -> pa.Table:
    """The same rows, their ids in columns that can be put in order
    when they are more than 2 GiB.
    """
    for name in TEXTS:
        table = table.set_column(
            table.column_names.index(name), name, table[name].cast(pa.large_string())
        )
    return table


def _in_log_order(table: pa.Table) -> pa.Table:
    """The rows by partition and offset; each offset once, should files overlap."""
    partitions = table["partition"].cast(pa.int32()).to_numpy()
    offsets = table["offset"].to_numpy()
    order = np.lexsort((offsets, partitions))
    partitions = partitions[order]
    offsets = offsets[order]
    repeated = np.append(False, (np.diff(partitions) == 0) & (np.diff(offsets) == 0))
    return table.take(pa.array(order[~repeated]))
