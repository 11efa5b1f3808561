"""A column of ids as text: the same string that a live record with that id gives, or an error.

As in serving (`events.format: json`): texts are taken as they are, integers as their decimal
digits, an empty text is no id. A number with a fraction, a boolean, a time, a list are no ids.
Floats and decimals are taken where they are whole: that is what data frames and databases make of
integers; they are counted, and said.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from model.arrays import Strings
from training.data.clicklog import unique_strings
from training.data.place import Place, shown
from training.data.remarks import Remarks
from training.errors import DatasetError

ID_BYTES_MAX = 256  # what serving takes unless events.id_bytes_max says otherwise
# beyond, neighbours are one number
WHOLE_MAX = {pa.float16(): 2.0**11, pa.float32(): 2.0**24, pa.float64(): 2.0**53}


def texts(column: pa.ChunkedArray, place: Place, remarks: Remarks) -> pa.ChunkedArray:
    """The ids as large_string, null where there is none.

    Raises:
        DatasetError: the type is none of an id, or a row holds what is none.
    """
    found = _as_text(plain(column), place, remarks)
    found = pc.if_else(pc.equal(found, ""), pa.scalar(None, pa.large_string()), found)
    long = pc.fill_null(pc.greater(pc.binary_length(found), ID_BYTES_MAX), False).to_numpy()
    if long.any():
        what = (
            f"ids have more than {ID_BYTES_MAX} bytes: serving refuses such unless "
            "events.id_bytes_max is raised"
        )
        remarks.add(what, int(np.count_nonzero(long)), place.row(_first(long)))
    return found


def strings(column: pa.ChunkedArray) -> Strings:
    """Text without nulls as an array of objects; equal texts are one object."""
    codes, names = unique_strings(column)
    return names[codes]


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without dictionaries, run lengths, views and extension types around its values."""
    while True:
        kind = column.type
        if types.is_dictionary(kind):
            parts = [_decoded(part) for part in column.chunks]
            column = pa.chunked_array(parts, parts[0].type if parts else kind.value_type)
        elif types.is_run_end_encoded(kind):
            column = pa.chunked_array(
                [pc.run_end_decode(part) for part in column.chunks], kind.value_type
            )
        elif types.is_string_view(kind):
            column = column.cast(pa.large_string())
        elif types.is_binary_view(kind):
            column = column.cast(pa.large_binary())
        elif isinstance(kind, pa.UuidType):
            parts = [
                [None if each is None else str(each) for each in part.to_pylist()]
                for part in column.chunks
            ]
            column = pa.chunked_array(
                [pa.array(part, pa.large_string()) for part in parts], pa.large_string()
            )
        elif isinstance(kind, pa.BaseExtensionType):
            column = pa.chunked_array([part.storage for part in column.chunks], kind.storage_type)
        else:
            return column


def as_utf8(column: pa.ChunkedArray, place: Place) -> pa.ChunkedArray:
    """Text or bytes as large_string, checked.

    Raises:
        DatasetError: a row is no UTF-8.
    """
    as_bytes = column.cast(pa.large_binary())
    try:
        return as_bytes.cast(pa.large_string())
    except pa.ArrowInvalid:
        for row, value in enumerate(as_bytes):
            try:
                (value.as_py() or b"").decode()
            except UnicodeDecodeError as error:
                bad = value.as_py()
                near = bad[max(0, error.start - 20) : error.end + 20]
                raise DatasetError(
                    f"{place.row(row)}: {shown(near)} is no UTF-8; convert the file, such as by "
                    f"`iconv -f latin1 -t utf-8`, if it is in Latin-1"
                ) from None
        raise


def is_text(kind: Any) -> bool:
    """Whether values of this type are texts or bytes."""
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
    )


def _as_text(column: pa.ChunkedArray, place: Place, remarks: Remarks) -> pa.ChunkedArray:
    kind = column.type
    if types.is_null(kind):
        return column.cast(pa.large_string())
    if is_text(kind):
        return as_utf8(column, place)
    if types.is_integer(kind):
        return column.cast(pa.large_string())
    if types.is_floating(kind):
        return _whole_floats(column, place, remarks)
    if types.is_decimal(kind):
        return _whole_decimals(column, place, remarks)
    inside = "; name what lies inside, such as COLUMN.id" if types.is_struct(kind) else ""
    raise DatasetError(
        f"{place} holds {kind}, which is no id{inside or '; write the ids as text'}: serving "
        "takes texts and integers"
    )


def _whole_floats(column: pa.ChunkedArray, place: Place, remarks: Remarks) -> pa.ChunkedArray:
    # NaN where null: data frames mean the same by both
    values = column.cast(pa.float64()).to_numpy()
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        wrong = there & ~((np.rint(values) == values) & (np.abs(values) < WHOLE_MAX[column.type]))
    if wrong.any():
        row = _first(wrong)
        raise DatasetError(
            f"{place.row(row)}: {float(values[row])!r} of a column of {column.type} is no id "
            f"({np.count_nonzero(wrong):,} rows are so): only whole numbers below "
            f"2^{int(np.log2(WHOLE_MAX[column.type]))} are exact; write the ids as text"
        )
    _say_whole(column.type, there, place, remarks)
    whole = pa.array(np.where(there, values, 0).astype(np.int64), mask=~there)
    return pa.chunked_array([whole.cast(pa.large_string())])


def _whole_decimals(column: pa.ChunkedArray, place: Place, remarks: Remarks) -> pa.ChunkedArray:
    exact = column.to_pylist()
    for row, value in enumerate(exact):
        if value is not None and value != value.to_integral_value():
            raise DatasetError(
                f"{place.row(row)}: {value} is no id: it is no whole number; write the ids as text"
            )
    if column.type.scale:
        _say_whole(column.type, np.array([value is not None for value in exact]), place, remarks)
    found = [None if value is None else str(int(value)) for value in exact]
    return pa.chunked_array([pa.array(found, pa.large_string())])


def _say_whole(kind: Any, there: Any, place: Place, remarks: Remarks) -> None:
    if there.any():
        what = (
            f"ids in column {place.column!r} of {kind} are read as whole numbers, such as "
            "196.0 as 196"
        )
        remarks.add(what, int(np.count_nonzero(there)), place.row(_first(there)))


def _first(marks: Any) -> int:
    return int(np.flatnonzero(marks)[0])


def _decoded(part: pa.DictionaryArray) -> Any:
    """Its values, as a type that holds more than 2 GiB of them."""
    names = (
        part.dictionary.cast(pa.large_binary())
        if is_text(part.type.value_type)
        else part.dictionary
    )
    return pa.DictionaryArray.from_arrays(part.indices, names).dictionary_decode()
