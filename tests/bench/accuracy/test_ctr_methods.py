"""One suite over every click-through method, and each against its paper's equation in a loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import elu, leaky_relu, normalize

from bench.accuracy.baselines.ctr import din, eta, lrea, mimn, sdim, sim
from bench.accuracy.baselines.ctr.interest import Asked
from bench.accuracy.baselines.ctr.linear_attention import LinearAttention
from bench.accuracy.baselines.ctr.pooling import MeanPooling
from bench.accuracy.baselines.ctr.target_attention import RecentAttention, TargetAttention
from bench.accuracy.ctr.methods import LARGE, METHODS, SHAPE, method
from bench.accuracy.ctr.streaming import Streaming
from model.config import ModelConfig
from training.errors import TrainingError

B = 2
L = 90
Q = 3
D = SHAPE.width
LENGTH = 80  # more than SIM and ETA keep, less than L


def _asked(seed: int = 0) -> Asked:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    ends = torch.tensor([[60, 80, 90], [1, 70, 85]])
    return Asked(
        x=normal(B, L, D),
        vectors=normal(B, L, D),
        times_ms=torch.randint(0, 10**8, (B, L), generator=random).sort(dim=1).values,
        categories=torch.randint(1, 3, (B, L), generator=random),
        candidates=normal(B, Q, D),
        candidate_categories=torch.randint(1, 3, (B, Q), generator=random),
        begins=(ends - LENGTH).clamp(min=0),
        ends=ends,
    )


@pytest.mark.parametrize("name", METHODS)
def test_the_future_changes_nothing(name: str) -> None:
    """An interest is finite, of its shape, and blind to every event from the impression on."""
    torch.manual_seed(0)
    interest = method(name, LENGTH).eval()
    asked = _asked()
    changed = (
        asked.x.clone(),
        asked.vectors.clone(),
        asked.times_ms.clone(),
        asked.categories.clone(),
    )
    for b in range(B):
        for column in changed[:2]:
            column[b, int(asked.ends[b, 1]) :] += 1.0
        changed[2][b, int(asked.ends[b, 1]) :] += 10**6
        changed[3][b, int(asked.ends[b, 1]) :] = 9
    other = asked._replace(
        x=changed[0], vectors=changed[1], times_ms=changed[2], categories=changed[3]
    )
    found = interest(asked)
    assert found.shape == (B, Q, interest.pieces * D)
    assert found.isfinite().all()
    torch.testing.assert_close(interest(other)[:, :2], found[:, :2], rtol=1e-5, atol=1e-6)
    mood = interest.of_user(asked)
    if mood is not None:
        assert mood.shape == (B, Q)
        torch.testing.assert_close(interest.of_user(other)[:, :2], mood[:, :2])


@pytest.mark.parametrize(
    "name", [name for name in METHODS if not name.startswith(("streaming", "slots", "apart"))]
)
def test_events_before_the_window_change_nothing(name: str) -> None:
    """Only the last `length` events count, although the row that impressions share holds more."""
    torch.manual_seed(0)
    interest = method(name, LENGTH).eval()
    asked = _asked()
    other = asked._replace(x=asked.x.clone(), vectors=asked.vectors.clone())
    for column in (other.x, other.vectors):
        column[0, : asked.begins[0, 2]] += 1.0
    torch.testing.assert_close(interest(other)[0, 2], interest(asked)[0, 2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", [name for name, of in METHODS.items() if list(of(LENGTH).parameters())]
)
def test_every_weight_learns(name: str) -> None:
    """No parameter is left without a gradient."""
    torch.manual_seed(0)
    interest = method(name, LENGTH)
    mood = interest.of_user(_asked())
    term = torch.zeros(()) if mood is None else mood.square().sum()
    torch.autograd.backward(interest(_asked()).square().sum() + interest.penalty() + term)
    learning = [
        (key, weight) for key, weight in interest.named_parameters() if weight.requires_grad
    ]
    assert [key for key, weight in learning if weight.grad is None] == []


@pytest.mark.parametrize(
    "name", [name for name, of in METHODS.items() if of(LENGTH).state_bytes() is not None]
)
def test_what_has_a_state_costs_the_same_at_any_length(name: str) -> None:
    """A method that keeps a fixed state answers at a fixed cost;
    one that does not may grow with the history.
    """
    interest = method(name, LENGTH)
    assert interest.multiply_adds(1_000) == interest.multiply_adds(100_000)


def test_the_streaming_form_is_a_fiftieth_of_attention() -> None:
    """At 1,000 events: (4 + 16) slots and ring places against 1,000 events."""
    full = TargetAttention(D).multiply_adds(1_000)
    assert full == 2 * 1_000 * 32
    assert 50 * Streaming(SHAPE).multiply_adds(1_000) == full
    assert Streaming(LARGE).multiply_adds(1_000) == 2 * (16 + 32) * 32
    assert din.DeepInterest(D).multiply_adds(1_000) == 32 * 16 + 1_000 * (32 * 16 + 16 + 32)


def test_state_bytes_by_hand() -> None:
    """Slots of D + 1 floats, 6 bytes a ring event; SDIM's 16 x 8 bucket sums;
    linear attention's D x D and D.
    """
    assert Streaming(SHAPE).state_bytes() == 4 * 4 * 33 + 6 * 16
    assert Streaming(LARGE, ring="none").state_bytes() == 4 * 16 * 33
    assert sdim.HashCollisions(D).state_bytes() == 4 * 16 * 8 * 32
    assert LinearAttention(D).state_bytes() == 4 * (32 * 32 + 32)


def test_a_mood_orders_no_two_items_of_one_user() -> None:
    """It hears nothing of candidates, and costs none of them a multiply-add."""
    torch.manual_seed(0)
    apart = method("apart", LENGTH).eval()
    asked = _asked()
    mood = apart.of_user(asked)
    other = apart.of_user(asked._replace(candidates=asked.candidates + 1.0))
    assert mood is not None
    assert other is not None
    assert torch.equal(mood, other)
    assert apart.multiply_adds(1_000) == 2 * 4 * 32
    assert apart.state_bytes() == 4 * 4 * 33 + 6 * 16 + 4 * 2


def test_unknown_methods_are_named() -> None:
    """The message names the nearest one."""
    with pytest.raises(TrainingError, match="streaming-large"):
        method("streaming-larg", 10)


# Each method once more, for one impression, as its paper writes it.


def _one(asked: Asked, b: int = 0, q: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """History (n, D) of inputs and of item embeddings, and the candidate (D)."""
    part = slice(int(asked.begins[b, q]), int(asked.ends[b, q]))
    return asked.x[b, part], asked.vectors[b, part], asked.candidates[b, q]


def _attend(attention: TargetAttention | RecentAttention, x: Tensor, query: Tensor) -> Tensor:
    """Multi-head attention without positions."""
    inner = attention.attention
    out = []
    for part in torch.arange(D).chunk(inner.heads):
        q, k, v = (linear.weight[part] for linear in (inner.query, inner.key, inner.value))
        weights = torch.softmax(
            torch.stack([(q @ query) @ (k @ event) / math.sqrt(len(part)) for event in x]), dim=0
        )
        out.append(
            sum(
                (w * (v @ event) for w, event in zip(weights, x, strict=True)),
                torch.zeros(len(part)),
            )
        )
    return torch.cat(out)


def test_pooling_and_attention_by_definition() -> None:
    """Mean of all or of the last 5 events; attention head by head,
    event by event, over all or the last 5.
    """
    torch.manual_seed(1)
    asked = _asked()
    x, _, query = _one(asked)
    torch.testing.assert_close(MeanPooling(D)(asked)[0, 2], x.mean(dim=0))
    torch.testing.assert_close(MeanPooling(D, 5)(asked)[0, 2], x[-5:].mean(dim=0))
    full = TargetAttention(D)
    recent = RecentAttention(D, 5)
    torch.testing.assert_close(full(asked)[0, 2], _attend(full, x, query))
    torch.testing.assert_close(recent(asked)[0, 2], _attend(recent, x[-5:], query))


def test_an_age_bias_counts_events_back() -> None:
    """A large bias on bucket 0 leaves the newest event alone in the mixture."""
    asked = _asked()
    attention = TargetAttention(D, aged=True)
    bias = attention.attention.age_bias
    assert bias is not None
    with torch.no_grad():
        bias[:, 0] = 1e4
    torch.testing.assert_close(
        attention(asked)[0, 2], attention.attention.value(_one(asked)[0][-1])
    )


def test_din_by_definition() -> None:
    """The activation unit, one event at a time, un-normalised."""
    torch.manual_seed(1)
    asked = _asked()
    unit = din.DeepInterest(D)
    x, _, query = _one(asked)
    total = torch.zeros(D)
    for event in x:
        hidden = unit.of_query(query) + unit.of_event(event) + unit.of_product(query * event)
        total += unit.out(torch.where(hidden > 0, hidden, unit.slope * hidden)) * event
    torch.testing.assert_close(unit(asked)[0, 2], total / din.SCALE, rtol=1e-4, atol=1e-5)


def test_sim_takes_the_newest_of_the_category() -> None:
    """Of events 0..8 in categories 1, 2, 1, ... the newest three of category 1 are 4, 6 and 8."""
    asked = _asked()._replace(
        categories=torch.arange(L).remainder(2).add(1).expand(B, L),
        candidate_categories=torch.tensor([[1, 1, 7], [1, 1, 1]]),
        begins=torch.zeros(B, Q, dtype=torch.int64),
        ends=torch.tensor([[9, 5, 9], [9, 9, 9]]),
    )
    assert sim.chosen(asked, kept=3)[0, 0].nonzero().flatten().tolist() == [4, 6, 8]
    assert sim.chosen(asked, kept=3)[0, 1].nonzero().flatten().tolist() == [0, 2, 4]
    assert sim.SearchByCategory(D)(asked)[0, 2].eq(0).all()  # nothing of category 7


def test_eta_takes_the_nearest_signatures() -> None:
    """The chosen events are at most as many bits away as the others."""
    torch.manual_seed(2)
    asked = _asked()
    search = eta.HashedSearch(D)
    _, vectors, query = _one(asked)
    distance = ((vectors @ search.planes > 0) != (query @ search.planes > 0)).sum(dim=-1)  # (n,)
    begin = int(asked.begins[0, 2])
    taken = search.chosen(asked)[0, 2, begin : begin + len(vectors)]
    assert int(taken.sum()) == eta.KEPT
    assert distance[taken].max() <= distance[~taken].min()
    assert int(search.chosen(asked)[1, 0].sum()) == 1  # a history of one event


def test_sdim_by_definition() -> None:
    """In each group the events with the candidate's bits are summed and
    normalised; groups are averaged.
    """
    torch.manual_seed(3)
    asked = _asked()
    hashed = sdim.HashCollisions(D)
    x, vectors, query = _one(asked)
    found = torch.zeros(D)
    for group in hashed.planes.T.split(sdim.TAU):  # (tau, D)
        same = ((vectors @ group.T > 0) == (query @ group.T > 0)).all(dim=-1)
        found += normalize(x[same].sum(dim=0), dim=0) / sdim.GROUPS
    torch.testing.assert_close(hashed(asked)[0, 2], found)


def test_linear_attention_by_its_state() -> None:
    """The quadratic form of training equals reading the sums that a server keeps."""
    torch.manual_seed(4)
    asked = _asked()
    attention = LinearAttention(D)
    x, _, query = _one(asked)
    key = elu(attention.key(x)) + 1
    value = attention.value(x)
    read = elu(attention.query(query)) + 1
    torch.testing.assert_close(
        attention(asked)[0, 2], read @ (key.T @ value) / (read @ key.sum(dim=0))
    )


def test_lrea_absorbs_its_decompression() -> None:
    """Decompressing to full length and multiplying there gives the same, positions newest first."""
    torch.manual_seed(5)
    asked = _asked()
    low = lrea.PositionalLowRank(D, LENGTH)
    x, _, query = _one(asked)
    full = torch.zeros(LENGTH, D)
    full[: len(x)] = x.flip(0)
    compressed = low.compress.T @ full  # (r, D)
    key = low.decompress @ leaky_relu(low.key(compressed), lrea.SLOPE)  # (L, D)
    value = low.decompress @ leaky_relu(low.value(compressed), lrea.SLOPE)
    expected = (low.query(query) @ key.T / math.sqrt(D)) @ value
    torch.testing.assert_close(low(asked)[0, 2], expected, rtol=1e-4, atol=1e-5)
    assert low.penalty() == 0  # it starts without negative entries
    with torch.no_grad():
        low.decompress[0, 0] = -8.0
    assert low.penalty().item() == pytest.approx(8.0 / low.decompress.numel())


def test_mimn_by_steps() -> None:
    """Erasing and writing slot by slot, event by event,
    gives the memory that training computes at once.
    """
    torch.manual_seed(6)
    asked = _asked()
    memory = mimn.MemorySlots(D)
    x, _, _ = _one(asked, q=1)
    slots = torch.zeros(mimn.SLOTS, D)
    for event in x:
        weights = memory.address(event).softmax(dim=-1)[:, None]  # (S, 1)
        slots = (1 - weights * memory.erase(event).sigmoid()) * slots + weights * memory.value(
            event
        )
    torch.testing.assert_close(memory.memory(asked)[0, 1], slots, rtol=1e-4, atol=1e-5)


def test_streaming_equals_the_products_steps() -> None:
    """The slots folded event by event and the ring kept by hand give what training sees."""
    torch.manual_seed(7)
    config = ModelConfig(width=32, expand=2, slots=4, ring_length=8)
    asked = _asked()
    streaming = Streaming(config)
    assert streaming.ring is not None
    end = int(asked.ends[0, 1])
    cache = torch.zeros(1, 4, D)
    mass = torch.zeros(1, 4)
    for t in range(end):
        elapsed = asked.times_ms[0, t] - asked.times_ms[0, max(t - 1, 0)]
        cache, mass = streaming.lowrank.step(asked.x[:1, t], elapsed[None], cache, mass)
    query = asked.candidates[0, 1][None]  # (1, D)
    ring = asked.x[0, end - 8 : end].flip(0)
    expected = torch.cat(
        [
            streaming.lowrank.read(cache[0], mass[0], query),
            streaming.ring(query, ring, torch.ones(8, dtype=torch.bool)),
        ],
        dim=-1,
    )
    torch.testing.assert_close(streaming(asked)[0, 1], expected[0], rtol=1e-4, atol=1e-5)
