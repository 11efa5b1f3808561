"""A column of ratings or labels as numbers; a row may have none, which is NaN."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pyarrow import types

from model.arrays import Doubles
from training.data.id_column import as_utf8, is_text, plain
from training.data.place import Place, shown
from training.errors import DatasetError

NONE = frozenset({"", "na", "n/a", "nan", "null", "none"})
LABELS = {"true": 1.0, "false": 0.0}


def ratings(column: pa.ChunkedArray, place: Place) -> Doubles:
    """The ratings (n,).

    Raises:
        DatasetError: a row holds no number.
    """
    column = plain(column)
    kind = column.type
    if is_text(kind):
        texts = as_utf8(column, place).to_pylist()
        found = np.array(
            [_number(text or "", row, place) for row, text in enumerate(texts)], dtype=np.float64
        )
    elif (
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_boolean(kind)
    ) or types.is_null(kind):
        found = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    else:
        raise DatasetError(
            f"{place} holds {kind}, which is no rating; write numbers, or true and false"
        )
    if (endless := np.isinf(found)).any():
        raise DatasetError(
            f"{place.row(int(np.flatnonzero(endless)[0]))}: the rating is infinite; correct the row"
        )
    return found


def _number(text: str, row: int, place: Place) -> float:
    word = text.strip().casefold()
    if word in NONE:
        return float("nan")
    if word in LABELS:
        return LABELS[word]
    try:
        return float(word.replace("_", "?"))
    except ValueError:
        raise DatasetError(
            f"{place.row(row)}: {shown(text)} is no rating; write a number, or nothing"
        ) from None
