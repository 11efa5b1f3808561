from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from actors.serve.score_ids import ScoreIds


def test_ids_are_unique_and_in_order() -> None:
    """10,000 ids within two milliseconds,
    with the clock stepping back in between, are strictly increasing.
    """
    ids = ScoreIds(3)
    made = [
        ids.next(now_ms) for now_ms in (1_700_000_000_001, 1_700_000_000_000) for _ in range(5_000)
    ]
    assert made == sorted(set(made))
    assert {len(each) for each in made} == {22}


def test_threads_share_the_ids_out() -> None:
    """Four threads at a time make 20,000 different ids."""
    ids = ScoreIds(3)
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(ids.next, [1_700_000_000_000] * 20_000))
    assert len(set(made)) == len(made)


def test_two_processes_never_make_the_same_id() -> None:
    """The process is part of the id, as it is:
    however many there were, none stands for another one.
    """
    made = {ScoreIds(process).next(1_700_000_000_000) for process in range(5_000)}
    made |= {
        ScoreIds(1_000_000 + 1024 * process).next(1_700_000_000_000) for process in range(5_000)
    }
    assert len(made) == 10_000


def test_a_process_that_borrows_from_the_future_cannot_meet_its_successor() -> None:
    """More answers than fit into a millisecond are named beyond it;
    the next process of the shard has another name.
    """
    first = ScoreIds(7)
    second = ScoreIds(8)
    made = {first.next(1_700_000_000_000) for _ in range(10_000)}
    assert made.isdisjoint(second.next(1_700_000_000_001) for _ in range(10_000))


def test_the_time_can_be_read_back() -> None:
    """The first eleven digits are milliseconds since 1970."""
    assert int(ScoreIds(5).next(1_700_000_000_123)[:11], 16) == 1_700_000_000_123
