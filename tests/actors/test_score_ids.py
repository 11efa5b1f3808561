from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from actors.score_ids import ScoreIds


def test_ids_are_unique_and_in_order() -> None:
    """10,000 ids within two milliseconds, with the clock stepping back in between, are strictly increasing."""
    ids = ScoreIds(node=3)
    made = [ids.next(now_ms) for now_ms in (1_700_000_000_001, 1_700_000_000_000) for _ in range(5_000)]
    assert made == sorted(set(made))
    assert {len(each) for each in made} == {16}


def test_threads_share_the_ids_out() -> None:
    """Four threads at a time make 20,000 different ids."""
    ids = ScoreIds(node=3)
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(ids.next, [1_700_000_000_000] * 20_000))
    assert len(set(made)) == len(made)


def test_two_nodes_never_make_the_same_id() -> None:
    """The node is part of the id."""
    made = {ScoreIds(node).next(1_700_000_000_000) for node in range(1024)}
    assert len(made) == 1024


def test_the_time_can_be_read_back() -> None:
    """The upper 42 bits are milliseconds since 1970."""
    assert int(ScoreIds(5).next(1_700_000_000_123), 16) >> 22 == 1_700_000_000_123
