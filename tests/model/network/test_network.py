"""The whole model: scan equals step, nothing leaks from the future, settings are checked."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from model.config import ModelConfig
from model.network.head import count_bucket
from model.network.network import Network
from model.network.reference import ReferenceState, step
from tests.model.models import ITEMS, VARIANTS, histories, network


def run_reference(
    made: Network, length: int, users: int = 3
) -> tuple[torch.Tensor, torch.Tensor, ReferenceState]:
    """(scan's sequence states, the reference's, the last reference state)."""
    batch = histories(users, length, made.config)
    state = ReferenceState.zeros(made.config, users)
    states = []
    with torch.no_grad():
        for t in range(length):
            sequence, state = step(
                made, state, batch.items[:, t], batch.actions[:, t], batch.times_ms[:, t]
            )
            states.append(sequence)
        return made.encode(batch).sequence, torch.stack(states, dim=1), state


@pytest.mark.parametrize("variant", VARIANTS)
def test_scan_equals_step(variant: str) -> None:
    """The whole-history pass and single steps give the same sequence state at every position."""
    made = network(ModelConfig(**VARIANTS[variant], actions=("view", "buy")))
    scan, steps, _ = run_reference(made, 70)
    torch.testing.assert_close(scan, steps, atol=1e-4, rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_caches_equal_their_steps(variant: str) -> None:
    """The low-rank cache computed from whole histories equals the one folded event by event."""
    made = network(ModelConfig(**VARIANTS[variant]))
    _, _, state = run_reference(made, 40)
    batch = histories(3, 40, made.config)
    with torch.no_grad():
        at = torch.full((3, 1), 39)
        cache, mass = made.lowrank.caches_at(made.encode(batch).x, batch.times_ms, at)
    torch.testing.assert_close(cache[:, 0], state.cache, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mass[:, 0], state.mass, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_leaks_from_the_future(variant: str) -> None:
    """Changing the event at position 30 changes no state,
    logit or score before it, and changes later ones.
    """
    made = network(ModelConfig(**VARIANTS[variant]))
    batch = histories(2, 50, made.config)
    items = batch.items.clone()
    items[:, 30] = (items[:, 30] + 1) % ITEMS
    changed = batch._replace(
        items=items, times_ms=batch.times_ms + (torch.arange(50) >= 30) * 5_000
    )
    at = torch.arange(50).expand(2, -1)
    candidates = torch.arange(6).expand(2, 50, -1)
    with torch.no_grad():
        for part in (
            lambda b: made.encode(b).sequence,
            lambda b: made.next_item_logits(made.encode(b), b),
            lambda b: made.head(made.encode(b), b, at, candidates, b.times_ms + 1000),
        ):
            before = part(batch)
            after = part(changed)
            torch.testing.assert_close(before[:, :30], after[:, :30], atol=2e-5, rtol=0)
            assert (before[:, 30:] - after[:, 30:]).abs().max() > 1e-3


def test_every_parameter_is_trained() -> None:
    """Next-item and click logits together reach every parameter of the network with a gradient."""
    made = network(ModelConfig(actions=("view", "buy")))
    batch = histories(2, 40, made.config)
    encoding = made.encode(batch)
    at = torch.full((2, 1), 39)
    candidates = torch.arange(ITEMS)[None, None].expand(2, 1, -1)
    clicks = made.head(encoding, batch, at, candidates, batch.times_ms[:, -1:] + 1000)
    (made.next_item_logits(encoding, batch).square().mean() + clicks.square().mean()).backward()
    without = {
        name for name, p in made.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    }
    assert without == set()


def test_the_head_starts_as_the_next_item_logit() -> None:
    """Before it has learned anything the head corrects nothing."""
    torch.manual_seed(0)
    made = Network(ModelConfig(), ITEMS).eval()
    batch = histories(2, 40, made.config)
    at = torch.full((2, 1), 39)
    candidates = torch.arange(ITEMS).expand(2, 1, -1)
    with torch.no_grad():
        encoding = made.encode(batch)
        full = made.head(encoding, batch, at, candidates, batch.times_ms[:, -1:] + 1000)
        next_item = made.next_item_logits(encoding, batch)[:, 39:]
    torch.testing.assert_close(full, next_item)


def test_a_head_that_learns_apart_leaves_the_next_item_logit_alone() -> None:
    """Its gradient reaches head, ring and slots, and nothing that the next-item logit is made of;
    its logits are the same.
    """
    made = network(ModelConfig(actions=("view", "buy")))
    batch = histories(2, 40, made.config)
    encoding = made.encode(batch)
    question = (torch.full((2, 1), 39), torch.arange(ITEMS).expand(2, 1, -1))
    now_ms = batch.times_ms[:, -1:] + 1000
    logits = made.head(encoding, batch, *question, now_ms, apart=True)
    torch.testing.assert_close(logits, made.head(encoding, batch, *question, now_ms))
    logits.square().mean().backward()
    reached = {
        name.split(".")[0]
        for name, p in made.named_parameters()
        if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert reached == {"evidence", "lowrank", "ring"}


def test_a_window_is_no_new_user() -> None:
    """Cut out of a history, its first event has the input that it has there, and the head counts
    the events before it.
    """
    made = network(ModelConfig(actions=("view", "buy")))
    batch = histories(2, 40, made.config)
    cut = 25
    gap_ms = batch.times_ms[:, cut] - batch.times_ms[:, cut - 1]
    before = torch.stack([torch.full_like(gap_ms, cut), gap_ms], dim=1)
    window = batch.each(lambda column: column[:, cut:])
    known = window._replace(before=before)
    whole = made.encode(batch).x[:, cut:]
    torch.testing.assert_close(made.encode(known).x, whole)
    assert not torch.equal(made.encode(window).x[:, 0], whole[:, 0])
    counted = []
    made.evidence.count.register_forward_hook(lambda _, given, __: counted.append(given[0]))
    question = (torch.full((2, 1), 3), torch.arange(ITEMS).expand(2, 1, -1), batch.times_ms[:, -1:])
    for asked in (known, window):
        made.head(made.encode(asked), asked, *question)
    expected = (count_bucket(torch.full((2, 1), events)) for events in (cut + 4, 4))
    assert all(torch.equal(*pair) for pair in zip(counted, expected, strict=True))


def test_non_negativity_counts_negative_mixing_only() -> None:
    """LREA's term is the mean of relu(-M)."""
    made = network(ModelConfig())
    batch = histories(1, 3, made.config)
    with torch.no_grad():
        made.lowrank.mixing.fill_(0.5)
        made.lowrank.mixing[0, 0] = -2.56
        assert made.negativity(made.encode(batch)).item() == pytest.approx(
            2.56 / made.config.slots**2
        )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"heads": 3}, "multiple of heads"),
        ({"heads": 64}, "power of two"),
        ({"width": 24, "heads": 2}, "power of two"),
        ({"window_heads": 16}, "window_heads"),
        ({"actions": ()}, "1 to 255"),
        ({"ring_length": 33}, "power of two"),
    ],
)
def test_impossible_sizes_are_refused(setting: dict[str, object], message: str) -> None:
    """Each contradiction is named when the configuration is made."""
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(ModelConfig(), **setting)


def test_configuration_survives_json() -> None:
    """What is written is read back, and an unknown setting is named."""
    config = ModelConfig(slots=4, actions=("a", "b"))
    assert ModelConfig.from_json(config.to_json()) == config
    assert config.schema_hash() != ModelConfig().schema_hash()
    with pytest.raises(ValueError, match="sluts"):
        ModelConfig.from_json('{"sluts": 4, "actions": []}')
