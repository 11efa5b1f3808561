"""The index against a dict."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.state.index import BYTES_PER_ENTRY_MAX, KeyIndex

# Few different keys make duplicates likely; keys with equal low halves and the extremes make
# collisions likely.
KEYS = st.one_of(
    st.integers(0, 30), st.integers(0, 30).map(lambda key: key << 32), st.integers(0, 2**64 - 1)
)


def keys(values: list[int]) -> np.ndarray:
    """Keys as a column."""
    return np.array(values, dtype=np.uint64)


@settings(deadline=None)  # the first call loads compiled code
@given(st.lists(st.lists(KEYS, max_size=60), max_size=8), st.lists(KEYS, max_size=30))
def test_equals_a_dict_in_order_of_first_appearance(
    batches: list[list[int]], wanted: list[int]
) -> None:
    """Rows are numbered as a dict would number first appearances, within and across batches."""
    index = KeyIndex(1)
    reference = dict[int, int]()
    for batch in batches:
        expected = [reference.setdefault(key, len(reference)) for key in batch]
        assert index.add(keys(batch)).tolist() == expected
    assert index.rows_of(keys(wanted)).tolist() == [reference.get(key, -1) for key in wanted]
    assert index.keys.tolist() == list(reference)
    assert len(index) == len(reference)


@settings(max_examples=25, deadline=None)
@given(st.lists(KEYS, min_size=1, max_size=200), st.integers(1, 199))
def test_layout_does_not_depend_on_batches(log: list[int], cut: int) -> None:
    """The same keys in other batches get the same rows."""
    whole = KeyIndex(1)
    parts = KeyIndex(1)
    whole.add(keys(log))
    parts.add(keys(log[:cut]))
    parts.add(keys(log[cut:]))
    assert whole.keys.tolist() == parts.keys.tolist()


def test_zero_is_a_key_like_any_other() -> None:
    """Key 0 is unknown until it is added."""
    index = KeyIndex(4)
    assert index.rows_of(keys([0])).tolist() == [-1]
    assert index.add(keys([5, 0, 0])).tolist() == [0, 1, 1]
    assert index.rows_of(keys([0])).tolist() == [1]


def test_grows_and_stays_within_its_bytes() -> None:
    """100,000 keys are all found, in at most the promised bytes an entry."""
    index = KeyIndex(1)
    many = np.random.default_rng(1).integers(0, 2**63, 100_000).astype(np.uint64)
    for first in range(0, len(many), 1000):
        index.add(many[first : first + 1000])
        if len(index) >= 2000:
            assert index.nbytes <= BYTES_PER_ENTRY_MAX * (len(index) + 1000)
    assert np.array_equal(index.keys[index.rows_of(many)], many)


def test_read_only_columns_are_accepted() -> None:
    """Columns that came through Ray cannot be written to, and need not be."""
    frozen = keys([3, 4, 3])
    frozen.flags.writeable = False
    index = KeyIndex(4)
    assert index.add(frozen).tolist() == [0, 1, 0]
    assert index.rows_of(frozen).tolist() == [0, 1, 0]


def removed(reference: list[int], rows: list[int]) -> list[int]:
    """What is left when the last keys take the places of those at `rows`."""
    count = len(reference) - len(rows)
    left = reference.copy()
    movers = iter([key for row, key in enumerate(reference[count:], count) if row not in rows])
    for row in rows:
        if row < count:
            left[row] = next(movers)
    return left[:count]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.lists(KEYS, max_size=40)),
            st.tuples(st.just("remove"), st.lists(st.integers(0, 10**6), max_size=40)),
        ),
        max_size=20,
    ),
    st.lists(KEYS, max_size=20),
)
def test_adding_and_removing_equals_a_list(
    steps: list[tuple[str, list[int]]], wanted: list[int]
) -> None:
    """Whatever is added and removed in turn,
    each key that is left is found in its row, and no other.
    """
    index = KeyIndex(1)
    reference = list[int]()
    for what, numbers in steps:
        if what == "add":
            reference += [key for key in dict.fromkeys(numbers) if key not in reference]
            assert index.add(keys(numbers)).tolist() == [reference.index(key) for key in numbers]
        elif reference:
            rows = list(dict.fromkeys(number % len(reference) for number in numbers))
            before = index.keys.copy()
            moved = index.remove(np.array(rows, dtype=np.int64))
            reference = removed(reference, rows)
            assert before[moved.source].tolist() == [reference[row] for row in moved.target]
        assert index.keys.tolist() == reference
        assert index.rows_of(keys(reference)).tolist() == list(range(len(reference)))
    expected = [reference.index(key) if key in reference else -1 for key in wanted]
    assert index.rows_of(keys(wanted)).tolist() == expected


def test_a_full_cluster_survives_removal_at_every_place() -> None:
    """Keys whose chains overlap, round the table's end too,
    are all found after any one of them is removed.
    """
    # 2/3 full: long clusters, some over the end of the table
    many = np.arange(5000, dtype=np.uint64)
    for row in range(0, 5000, 97):
        index = KeyIndex(16)
        index.add(many)
        index.remove(np.array([row]))
        found = index.rows_of(many)
        assert found[row] == -1
        assert np.array_equal(index.keys[np.delete(found, row)], np.delete(many, row))
