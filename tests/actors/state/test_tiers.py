"""States in memory and on disk: a store that must evict equals one that need not."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.clock import ManualClock, SystemClock
from actors.errors import ConfigError
from actors.state.eviction import LeastRecentlyUsed
from actors.state.rows import HotRows
from actors.state.store import PartitionStore
from tests.actors.click_log import ClickLog, bundle
from tests.actors.state.limited_store import HOT_USERS, ROW_BYTES, limited
from tests.actors.state.state_copier import Copier, rows_by_user, states_of

USERS = 600
LOG = ClickLog(6000)
RANDOM = np.random.default_rng(5)
SOME = RANDOM.zipf(1.3, len(LOG.users)).clip(max=USERS - 1)
ALL = RANDOM.integers(0, USERS, len(LOG.users))
LOG.users[:] = np.where(RANDOM.random(len(LOG.users)) < 0.6, SOME, ALL).astype(
    np.uint64
) << np.uint64(40)
EVERYBODY = np.unique(LOG.users)


def unlimited() -> PartitionStore:
    """A store without a cold tier."""
    return PartitionStore(bundle(), users_initial=1, bytes_per_user_max=4096, clock=SystemClock())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for all cold tiers."""
    return tmp_path_factory.mktemp("cold")


STEPS = st.one_of(
    st.tuples(st.just("fold"), st.integers(1, 150)),
    st.tuples(st.just("fold"), st.integers(1, 600)),
    st.tuples(st.just("read"), st.integers(0, len(EVERYBODY) - 1)),
    st.tuples(st.just("idle"), st.integers(0, 8)),
    st.tuples(st.just("load"), st.integers(0, len(EVERYBODY) - 1)),
    st.tuples(st.just("start"), st.booleans()),
    st.tuples(st.just("pieces"), st.integers(1, 3)),
    st.tuples(st.just("close"), st.booleans()),
)


class Pair:
    """The same steps on a store that evicts and on one that does not."""

    def __init__(self, root: Path) -> None:
        self.clock = ManualClock()
        self.evicting = limited(root, clock=self.clock)
        self.free = unlimited()
        self.copier = Copier(self.evicting)

    def step(self, what: str, number: int) -> None:
        """Do one thing to both, and compare what can be seen of it."""
        self.clock.advance(1)
        if what == "fold":
            batch = LOG.batch(self.free.position, min(LOG.length, self.free.position + number))
            assert self.evicting.fold(batch) == self.free.fold(batch)
            assert not len(batch) or self.evicting.users_hot <= max(
                HOT_USERS, len(np.unique(batch.users))
            )
        elif what == "read":
            user = int(EVERYBODY[number])
            one = self.evicting.read(user)
            other = self.free.read(user)
            assert (one.row is None, one.position) == (other.row is None, other.position)
            assert one.row is None or np.array_equal(one.row, other.row)
        elif what == "idle":
            while self.evicting.evict_idle(idle_s=number):
                pass
        elif what == "load":
            self._load(number)
        else:
            {"start": self.copier.start, "pieces": self.copier.take, "close": self.copier.close}[
                what
            ](number)

    def _load(self, first: int) -> None:
        """Enter states of some users, known or not;
        a chain of images does not learn of it, so it starts anew.
        """
        users = EVERYBODY[first : first + 60]
        rows = np.random.default_rng(first).integers(
            0, 255, (len(users), ROW_BYTES), dtype=np.uint8
        )
        rows[:, :16] = 0  # no events, so that the fold may go on from there
        for store in (self.evicting, self.free):
            store.load(users, rows)
        self.copier.close(False)
        self.step("start", True)
        self.step("close", True)

    def finish(self) -> None:
        """Both hold the same, in two tiers that share nobody, and so does what the images say."""
        assert self.evicting.digest() == self.free.digest()
        assert (
            self.evicting.users
            == self.evicting.users_hot + self.evicting.users_cold
            == self.free.users
        )
        for what, number in (("close", True), ("start", False), ("close", True)):
            self.step(what, number)
        assert self.copier.saved == states_of(self.free)


@settings(max_examples=50, deadline=None)
@given(steps=st.lists(STEPS, max_size=30))
def test_any_steps_leave_the_states_of_a_store_that_never_evicts(
    root: Path, steps: list[tuple[str, int]]
) -> None:
    """Events, reads, idle time, restored rows and images in any order: states,
    digests and chains of images agree.
    """
    pair = Pair(root)
    for what, number in steps:
        pair.step(what, number)
    pair.finish()


def test_ten_times_more_users_than_fit(root: Path) -> None:
    """A long log over ten times the users that fit:
    at each checkpoint a restored image equals the unlimited store.
    """
    pair = Pair(root)
    pair.step("start", True)
    for number in range(10):
        pair.step("fold", LOG.length // 10)
        pair.step("read", number)
        pair.step("close", True)
        pair.step("start", False)
    assert pair.free.users > 10 * HOT_USERS
    pair.finish()
    restored = limited(root)
    saved = pair.copier.saved
    rows = np.frombuffer(b"".join(saved.values()), dtype=np.uint8).reshape(len(saved), ROW_BYTES)
    restored.load(np.array(list(saved), dtype=np.uint64), rows)
    restored.skip_to(LOG.length)
    assert restored.users_hot == HOT_USERS
    assert restored.digest() == pair.free.digest()


def test_the_least_recently_used_leave_first(root: Path) -> None:
    """Whoever had an event or a request lately stays in memory; the others go."""
    clock = ManualClock()
    log = ClickLog(400)
    store = limited(root, clock=clock)
    log.users[:] = np.arange(len(log.users), dtype=np.uint64)
    store.fold(log.batch(0, int(log.offsets[30])))  # users 0 to 29
    clock.advance(10)
    for user in range(5):
        store.read(user)
    clock.advance(10)
    store.fold(log.batch(store.position, int(log.offsets[60])))  # 30 more, of whom 10 do not fit
    store.evict_idle(idle_s=5)
    stayed = [user for user in range(60) if user in store._tiers.hot.keys]
    assert stayed == list(range(30, 60))
    store.fold(log.batch(store.position, store.position))
    assert store.users_hot == 30


def test_reads_keep_a_user_in_memory_and_bring_one_back(root: Path) -> None:
    """A user who is asked for is no candidate for eviction;
    one on disk is in memory after the next events.
    """
    clock = ManualClock()
    reasons = []
    store = limited(
        root, None, clock=clock, on_evicted=lambda reason, users: reasons.append((reason, users))
    )
    store.fold(LOG.batch(0, 500))
    kept, other, *_ = states_of(store)
    clock.advance(10)
    store.read(kept)
    users = store.users
    assert store.evict_idle(idle_s=5) == users - 1
    assert (store.users_hot, store.users_cold) == (1, users - 1)
    assert store.evict_idle(idle_s=5) == 0
    assert store.read(other).row is not None
    store.fold(LOG.batch(500, 501))
    assert kept in store._tiers.hot.keys
    assert other in store._tiers.hot.keys
    assert reasons == [("idle", users - 1)]
    assert store.bytes_cold >= store.users_cold * ROW_BYTES


def test_memory_evictions_are_told_and_bytes_stay_below_the_limit(root: Path) -> None:
    """Moves for want of memory are counted as such, and the bytes of the rows keep to the limit."""
    told = []
    store = limited(root, 300, on_evicted=lambda reason, users: told.append((reason, users)))
    log = ClickLog(3000)
    log.users[:] = np.arange(len(log.users), dtype=np.uint64)
    for start in range(0, log.length, 200):
        store.fold(log.batch(start, start + 200))
        assert store.bytes_hot <= 300 * store.bytes_per_user
    assert {reason for reason, _ in told} == {"memory"}
    assert sum(users for _, users in told) == store.users_cold == len(log.users) - store.users_hot


def test_idle_users_who_do_not_fit_on_disk_stay_in_memory(root: Path) -> None:
    """Of idle users as many leave as fit; the others stay, and nobody's state changes."""
    clock = ManualClock()
    store = limited(root, None, cold_bytes=1 << 17, clock=clock)
    store.fold(LOG.all())
    before = store.digest()
    clock.advance(100)
    moved = store.evict_idle(idle_s=10)
    assert 0 < moved == store.users_cold < store.users
    assert store.cold_full
    assert store.evict_idle(idle_s=10) == 0  # not tried again so soon
    assert store.digest() == before


def test_memory_cannot_be_limited_without_a_cold_tier() -> None:
    """The error names the missing part."""
    with pytest.raises(ConfigError, match="nowhere to go without a cold tier"):
        PartitionStore(
            bundle(),
            users_initial=1,
            bytes_per_user_max=4096,
            hot_bytes_max=10**6,
            clock=SystemClock(),
        )


def test_readers_and_images_beside_a_writer_that_evicts(root: Path) -> None:
    """While users move between tiers, a reader finds everybody who was there,
    and an image holds each once.
    """
    store = limited(root)
    done = threading.Event()
    missing = []
    store.fold(LOG.batch(0, 3000))
    known = states_of(store)

    def read() -> None:
        while not done.is_set():
            missing.extend(user for user in list(known)[::7] if store.row(user) is None)

    def write() -> None:
        for start in range(3000, LOG.length, 40):
            store.fold(LOG.batch(start, start + 40))
        done.set()

    threads = [threading.Thread(target=read), threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    images = []
    while not done.is_set() and len(images) < 40:
        image = store.image("main", full=len(images) % 2 == 0)
        images.append((image, rows_by_user(list(image.pieces()))))
        image.close(True)
    for thread in threads:
        thread.join(timeout=60)
    assert not missing
    saved = {}
    clean = unlimited()
    for image, rows in images:
        assert len(rows) == image.users
        saved = rows if image.full else saved | rows
        clean.fold(LOG.batch(clean.position, image.position))
        assert saved == states_of(clean)


@pytest.mark.parametrize("failed", [False, True])
def test_a_change_is_not_forgotten_on_the_way_to_disk_and_back(root: Path, failed: bool) -> None:
    """A user who changed, went to disk and came back by a read alone is in the
    next delta, after a failed one too.
    """
    clock = ManualClock()
    store = limited(root, None, clock=clock)
    store.fold(LOG.batch(0, 500))
    store.image("main", full=True).close(True)
    store.fold(LOG.batch(500, 520))
    changed = set(LOG.batch(500, 520).users.tolist())
    before = states_of(store)
    clock.advance(10)
    store.evict_idle(idle_s=5)
    image = store.image("main", full=False) if failed else None
    for user in changed:
        store.read(user)
    store.fold(LOG.batch(520, 521))
    assert store.users_hot >= len(changed)
    if image is not None:
        image.close(False)
    delta = store.image("main", full=False)
    found = rows_by_user(list(delta.pieces()))
    assert changed <= found.keys() <= changed | set(LOG.batch(520, 521).users.tolist())
    assert delta.users == len(found)
    assert all(
        found[user] == before[user] for user in changed - set(LOG.batch(520, 521).users.tolist())
    )


def test_whoever_was_used_since_the_ranking_is_passed_over() -> None:
    """A user in the queue who is used before the turn comes stays, and the next ones go."""
    hot = HotRows(8, 16)
    hot.reserve(100)
    hot.used[hot.add(np.arange(100, dtype=np.uint64))] = np.arange(100)
    least_recent = LeastRecentlyUsed(hot)
    nobody = np.empty(0, dtype=np.uint64)
    assert least_recent.choose(5, nobody).tolist() == [0, 1, 2, 3, 4]
    hot.drop(hot.rows_of(np.arange(5, dtype=np.uint64)))
    hot.used[hot.rows_of(np.array([6, 7], dtype=np.uint64))] = 200
    assert least_recent.choose(3, np.array([8], dtype=np.uint64)).tolist() == [5, 9, 10]
    assert set(least_recent.choose(1000, nobody).tolist()) == set(range(5, 100))
