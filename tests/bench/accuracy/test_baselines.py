"""The next-item references: what they see, what they learn, and the parts they are made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.accuracy.baselines.next_item.baseline import (
    Reference,
    ReferenceRanker,
    ReferenceTask,
    sampled_prefixes,
)
from bench.accuracy.baselines.next_item.echomamba4rec import EchoMamba4Rec
from bench.accuracy.baselines.next_item.gru4rec import GRU4Rec
from bench.accuracy.baselines.next_item.mamba import Mamba
from bench.accuracy.baselines.next_item.mamba4rec import Mamba4Rec
from bench.accuracy.baselines.next_item.popularity import Popularity
from bench.accuracy.baselines.next_item.sasrec import Block, SASRec
from bench.accuracy.baselines.next_item.selective_scan import selective_scan
from model.network.embedding import Sequences
from model.network.scan import recurrence
from tests.training.logs import cyclic_log, make_log
from training.data.sequences import Held, Histories, Vocabulary, Windows, pad
from training.fit.harness import FitConfig, fit
from training.measure.evaluate import rank

WIDTH = 16
LENGTH = 8
CAUSAL = ("sasrec", "gru4rec", "mamba4rec")
ALL = (*CAUSAL, "echomamba4rec")
QUICK = FitConfig(
    epochs=20,
    patience=20,
    length=LENGTH,
    tokens=128,
    learning_rate=1e-2,
    dropout=0.0,
    average_decay=0.9,
)


def encoder_of(name: str) -> nn.Module:
    """A tiny encoder without dropout."""
    if name == "sasrec":
        return SASRec(WIDTH, LENGTH, 0.0)
    if name == "gru4rec":
        return GRU4Rec(WIDTH, 0.0, hidden=16)
    if name == "mamba4rec":
        return Mamba4Rec(WIDTH, 0.0, states=4)
    return EchoMamba4Rec(WIDTH, LENGTH, 0.0, states=4)


def lively(module: nn.Module) -> nn.Module:
    """Every parameter away from its starting value, so that no term hides behind a zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module.eval()


def circle() -> tuple[Vocabulary, Histories]:
    """The circle walkers."""
    vocabulary = Vocabulary.of(cyclic_log(), hashed=4)
    return vocabulary, Histories.of(cyclic_log(), vocabulary)


def events_of(items: Tensor) -> Sequences:
    """Histories of items (B, L), nothing padded."""
    return Sequences(
        items,
        torch.zeros_like(items),
        torch.zeros_like(items),
        torch.ones_like(items, dtype=torch.bool),
    )


def every_logit(model: Reference, events: Sequences) -> Tensor:
    """Logits (B, L, V) after every event."""
    users, length = events.items.shape
    row = torch.arange(users).repeat_interleave(length)
    at = torch.arange(length).repeat(users)
    return ReferenceRanker(model).logits_at(events, row, at).unflatten(0, (users, length))


@pytest.mark.parametrize("membership", [False, True])
@pytest.mark.parametrize("name", CAUSAL)
def test_causal_references_do_not_look_ahead(name: str, membership: bool) -> None:
    """Changing event t + 1 changes no logit at t or before, and does change one at t + 1."""
    vocabulary, _ = circle()
    model = lively(Reference(encoder_of(name), vocabulary, WIDTH, membership=membership))
    assert isinstance(model, Reference)
    items = torch.tensor([[0, 3, 5, 3, 7, 1]])
    changed = items.clone()
    changed[0, 4] = 2
    before = every_logit(model, events_of(items))
    after = every_logit(model, events_of(changed))
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4] - after[:, 4]).abs().max() > 1e-3


def test_sasrecs_blocks_are_those_of_pytorch() -> None:
    """With the same weights, PyTorch's own encoder layer, normalised last, gives the same numbers:
    the form of RecBole's transformer.
    """
    block = lively(Block(WIDTH, 2, 0.0))
    assert isinstance(block, Block)
    other = nn.TransformerEncoderLayer(
        WIDTH, 2, 4 * WIDTH, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True
    ).eval()
    attention = other.self_attn
    with torch.no_grad():
        for name in ("weight", "bias"):
            parts = [getattr(part, name) for part in (block.query, block.key, block.value)]
            getattr(attention, f"in_proj_{name}").copy_(torch.cat(parts))
    attention.out_proj.load_state_dict(block.mix.state_dict())
    for mine, its in (
        (block.attention_norm, other.norm1),
        (block.inner, other.linear1),
        (block.outer, other.linear2),
        (block.forward_norm, other.norm2),
    ):
        its.load_state_dict(mine.state_dict())
    x = torch.randn(2, 5, WIDTH)
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    torch.testing.assert_close(block(x), other(x, src_mask=causal, is_causal=True))


def test_the_published_model_looks_ahead() -> None:
    """Changing the last event changes what stands at the first position,
    so it can be neither streamed nor unrolled.
    """
    layer = lively(EchoMamba4Rec(WIDTH, LENGTH, 0.0, states=4)).layers[0]  # type: ignore[index]
    x = torch.randn(1, 6, WIDTH)
    mask = torch.ones(1, 6, dtype=torch.bool)
    changed = x.clone()
    changed[0, 5] += 1
    assert (layer(x, mask) - layer(changed, mask))[0, 0].abs().max() > 1e-3


def test_the_last_position_alone_equals_the_whole_pass() -> None:
    """Reading one position gives what the whole layer gives there, whatever padding follows."""
    layer = lively(EchoMamba4Rec(WIDTH, LENGTH, 0.0, states=4)).layers[0]  # type: ignore[index]
    x = torch.randn(2, 6, WIDTH)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    whole = layer(x, mask)
    last = layer.at_last(x, mask)
    torch.testing.assert_close(last, torch.stack([whole[0, 5], whole[1, 3]]))
    torch.testing.assert_close(layer.at_last(x[1:, :4], mask[1:, :4])[0], last[1])


@pytest.mark.parametrize("membership", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_a_position_scores_as_its_history_alone(name: str, membership: bool) -> None:
    """A question in a batch, with others and with later events behind it,
    is answered as if asked alone.
    """
    vocabulary, histories = circle()
    model = lively(Reference(encoder_of(name), vocabulary, WIDTH, membership=membership))
    assert isinstance(model, Reference)
    batch = pad(histories, Windows(histories.starts[:2], histories.starts[1:3] - np.array([0, 3])))
    row = torch.tensor([0, 1, 0])
    at = torch.tensor([6, 5, 2])
    together = ReferenceRanker(model).logits_at(batch.events, row, at)
    for number, (user, place) in enumerate(zip(row.tolist(), at.tolist(), strict=True)):
        alone = events_of(batch.events.items[user : user + 1, : place + 1])
        one = ReferenceRanker(model).logits_at(alone, torch.tensor([0]), torch.tensor([place]))
        torch.testing.assert_close(together[number], one[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_each_reference_learns_an_order_that_popularity_cannot_see(name: str) -> None:
    """On walks around a circle all items are equally popular, and the next one is certain."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vocabulary, everything = circle()
    training = everything.without_last(2)
    held = Held.last(everything.without_last(1))
    model = Reference(encoder_of(name), vocabulary, WIDTH, membership=False)
    # its small inputs start it slowly
    settings = replace(QUICK, learning_rate=4e-2) if name == "gru4rec" else QUICK
    task = ReferenceTask(model, settings, training, held, prefixes=400)
    fitted = fit(model, task, settings, np.random.default_rng(0), show_progress=False)
    test = Held.last(everything)
    found = rank(ReferenceRanker(model), test, 12, context=LENGTH).summary(1)["hr1"]
    assert fitted.history[-1].losses[0] < fitted.history[0].losses[0]
    assert found > 0.8 > rank(Popularity(training.counts(12)), test, 12).summary(1)["hr1"]


def test_membership_starts_where_nothing_repeats() -> None:
    """On walks without repeats the bias of what was just seen starts far below 0;
    without the option there is none.
    """
    log = make_log(
        [(f"u{user}", f"i{(user + step) % 30}", step) for user in range(60) for step in range(9)]
    )
    vocabulary = Vocabulary.of(log, hashed=4)
    model = Reference(encoder_of("gru4rec"), vocabulary, WIDTH, membership=True)
    model.start_from(Histories.of(log, vocabulary), seed=0)
    assert model.membership is not None
    assert (model.membership.bias[:3] < -2).all()
    assert Reference(encoder_of("gru4rec"), vocabulary, WIDTH, membership=False).membership is None


def test_sampled_prefixes_end_at_different_targets() -> None:
    """Each window has a history of one to `length` events of one user and a
    target; few are drawn, or all.
    """
    _, histories = circle()
    for count in (50, 10_000):
        windows = sampled_prefixes(histories, LENGTH, count, np.random.default_rng(0))
        assert len(np.unique(windows.ends)) == len(windows.ends) == min(count, 40 * 8)
        sizes = windows.ends - windows.begins
        assert (sizes.min() >= 2, sizes.max() <= LENGTH + 1) == (True, True)
        users = np.searchsorted(histories.starts, windows.begins, side="right")
        assert (users == np.searchsorted(histories.starts, windows.ends - 1, side="right")).all()


def test_selective_scan_equals_its_definition() -> None:
    """Output and all five gradients equal those of the recurrence in a loop."""
    torch.manual_seed(0)
    x = torch.randn(2, 19, 6)
    dt = torch.rand(2, 19, 6) * 0.5
    rate = torch.rand(6, 5) * 4
    b = torch.randn(2, 19, 5)
    c = torch.randn(2, 19, 5)
    inputs = [part.requires_grad_() for part in (x, dt, rate, b, c)]
    fast = selective_scan(*inputs)
    slow = recurrence((dt * x)[:, :, None], (-dt[..., None] * rate)[:, :, None], b, c)[0][:, :, 0]
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)
    back = torch.randn_like(fast)
    for found, expected in zip(
        torch.autograd.grad(fast, inputs, back),
        torch.autograd.grad(slow, inputs, back),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_published_start_shortens_the_memory() -> None:
    """Mamba's own step sizes lie in [0.001, 0.1];
    after the published reset they are all near softplus(0).
    """
    torch.manual_seed(0)
    own = [
        module
        for module in EchoMamba4Rec(WIDTH, LENGTH, 0.0).modules()
        if isinstance(module, Mamba)
    ]
    reset = EchoMamba4Rec(WIDTH, LENGTH, 0.0, start="published")
    assert len(own) == 2
    for block in own:
        dt = nn.functional.softplus(block.step.bias)
        assert 0.0009 < dt.min() < dt.max() < 0.11
    for block in (module for module in reset.modules() if isinstance(module, Mamba)):
        torch.testing.assert_close(
            nn.functional.softplus(block.step.bias),
            torch.full((2 * WIDTH,), 0.6931),
            atol=1e-3,
            rtol=0,
        )
