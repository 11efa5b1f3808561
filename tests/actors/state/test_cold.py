"""The cold tier by itself: a dict on disk."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.errors import ColdTierError, ConfigError
from actors.state import cold
from actors.state.cold import NOBODY, ColdTier

WIDTH = 3648
KEYS = st.one_of(st.integers(0, 20), st.integers(2**64 - 20, 2**64 - 1))


def keys(values: list[int]) -> np.ndarray:
    """Keys as a column."""
    return np.array(values, dtype=np.uint64)


def rows(values: list[int]) -> np.ndarray:
    """A row of each number."""
    return np.repeat(np.array(values, dtype=np.uint64).astype(np.uint8)[:, None], WIDTH, axis=1)


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[ColdTier]:
    """An empty tier of 16 MB at most."""
    made = ColdTier.below(tmp_path, "test", WIDTH, 1 << 24)
    yield made
    made.close()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.dictionaries(KEYS, st.integers(0, 255), max_size=30), st.sets(KEYS)),
        max_size=8,
    )
)
def test_equals_a_dict(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[dict[int, int], set[int]]]
) -> None:
    """What was put last and not deleted is there, and a view holds what was there when it began."""
    tier = ColdTier.below(tmp_path_factory.mktemp("cold"), "test", WIDTH, 1 << 24)
    reference = dict[int, int]()
    views = []
    for put, gone in steps:
        tier.exchange(keys(list(put)), rows(list(put.values())), keys(list(gone)))
        reference = {user: row for user, row in (reference | put).items() if user not in gone}
        views.append((tier.view(), reference))
        found, states = tier.get(keys([*range(22), 2**64 - 1]))
        assert dict(zip(found.tolist(), states[:, 0].tolist(), strict=True)) == {
            user: row for user, row in reference.items() if user < 22 or user == 2**64 - 1
        }
        assert len(tier) == len(reference)
        assert (tier.nbytes > 0) == bool(reference)
    for view, expected in views[-5:]:
        assert view.users().tolist() == sorted(expected)
        for chosen in (None, keys([0, 1, 2, 2**64 - 1])):
            wanted = (
                expected
                if chosen is None
                else {u: r for u, r in expected.items() if u in chosen.tolist()}
            )
            pieces = list(view.pieces(chosen))
            assert {
                int(u): int(r[0])
                for users, states in pieces
                for u, r in zip(users, states, strict=True)
            } == wanted
    for view, _ in views:
        view.close()
    tier.close()


def test_views_leave_no_place_taken(tier: ColdTier) -> None:
    """Hundreds of closed views, kept by somebody, do not fill LMDB's table of readers."""
    tier.exchange(keys([1]), rows([1]), NOBODY)
    views = [tier.view() for _ in range(3)]
    for _ in range(300):
        views.append(tier.view())
        views[-1].close()
    assert views[0].users().tolist() == [1]
    for view in views:
        view.close()
    with pytest.raises(RuntimeError, match="closed"):
        views[0].users()


def test_files_go_with_their_tier_and_with_the_next_process(tmp_path: Path) -> None:
    """Closing, or letting go of, a tier deletes its files;
    what a killed process left is cleared, and nothing else.
    """
    kept = tmp_path / "mine"
    kept.mkdir()
    one, two, left = (
        ColdTier.below(tmp_path, name, WIDTH, 1 << 20) for name in ("one", "two", "left")
    )
    left.exchange(keys([5]), rows([5]), NOBODY)
    one.close()
    del two
    assert len(list(tmp_path.iterdir())) == 2
    cold.clear(tmp_path)
    assert list(tmp_path.iterdir()) == [kept]
    assert left.get(keys([5]))[0].tolist() == [5]  # a zombie goes on with its open file
    cold.clear(tmp_path / "missing")


def test_a_full_disk_changes_nothing(tier: ColdTier) -> None:
    """When the file cannot grow, neither puts nor deletes of that exchange happen,
    and the next one may succeed.
    """
    tier.exchange(keys([1, 2, 3]), rows([1, 2, 3]), NOBODY)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard))
    try:
        many = list(range(10, 200))
        with pytest.raises(ColdTierError, match="cannot exchange 190 users against 1"):
            tier.exchange(keys(many), rows([number % 256 for number in many]), keys([1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(tier) == 3
    assert tier.get(keys([1, 2, 3, 10]))[1][:, 0].tolist() == [1, 2, 3]
    tier.exchange(keys([10]), rows([10]), keys([1]))
    assert tier.get(keys([1, 2, 3, 10]))[1][:, 0].tolist() == [2, 3, 10]


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """The error says where the tier was to be made, and which setting to change."""
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ConfigError, match=r"no cold tier can be made in .*file.*state.cold_directory"
    ):
        ColdTier.below(tmp_path / "file", "test", WIDTH, 1 << 20)
