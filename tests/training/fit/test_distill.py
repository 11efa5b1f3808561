"""Teachers: what they say is the mean of their logits, and a student learns it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bench.accuracy.baselines.next_item.baseline import Reference, ReferenceTeacher
from bench.accuracy.baselines.next_item.echomamba4rec import EchoMamba4Rec
from model.config import ModelConfig
from model.network.embedding import Sequences
from model.network.network import Network
from tests.training.logs import cyclic_log
from training.data.sequences import Held, Histories, Vocabulary, Windows, pad
from training.errors import TrainingError
from training.fit.distill import StreamingTeacher, Teachers
from training.fit.train import TrainConfig, train

SHAPE = ModelConfig(
    width=32, heads=4, state_size=4, head_width=16, ring_length=8, tail_length=16, slots=4
)
VOCABULARY = Vocabulary.of(cyclic_log(), hashed=8)
HISTORIES = Histories.of(cyclic_log(), VOCABULARY)


def teacher(
    seed: int, items: tuple[str, ...] = VOCABULARY.items, width: int = 32
) -> StreamingTeacher:
    """An untrained model with lively weights."""
    torch.manual_seed(seed)
    network = Network(replace(SHAPE, width=width, hashed_items=8), len(items)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return StreamingTeacher(network, items)


def reference(seed: int) -> Reference:
    """An untrained bidirectional model with lively weights."""
    torch.manual_seed(seed)
    model = Reference(EchoMamba4Rec(32, 6, 0.0), VOCABULARY, 32, membership=True).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def test_teachers_speak_as_the_mean_of_their_logits() -> None:
    """Of two models of different width, after every event of two histories, membership included."""
    both = [teacher(0), teacher(1, width=64)]
    said = Teachers([one.opinion(HISTORIES, VOCABULARY) for one in both], 0.5)
    batch = pad(HISTORIES, Windows(HISTORIES.starts[:2], HISTORIES.starts[1:3]))
    with torch.no_grad():
        each = [
            one.network.next_item_logits(one.network.encode(batch.events), batch.events)
            for one in both
        ]
    expected = torch.stack(each).mean(dim=0)  # (2, L, V)
    seen = both[0].network.membership.seen(batch.events.items, batch.events.mask)
    for user in range(2):
        place = torch.from_numpy(batch.begins)[user] + torch.arange(
            int(batch.events.mask[user].sum())
        )
        mine = seen.user == user
        guide = said.guide(place, seen.only(mine))
        logits = (guide.x @ guide.table.mT + guide.bias).index_put(
            (seen.position[mine], seen.item[mine]), guide.extra, accumulate=True
        )
        torch.testing.assert_close(logits, expected[user, : len(place)], rtol=1e-4, atol=1e-4)


def test_a_bidirectional_teacher_speaks_of_each_event_without_reading_on() -> None:
    """After every event of a history it says what it says of that prefix alone;
    a streaming one speaks beside it.
    """
    model = reference(2)
    streaming = teacher(0)
    opinions = [
        one.opinion(HISTORIES, VOCABULARY) for one in (ReferenceTeacher(model, 6), streaming)
    ]
    said = Teachers(opinions, 0.5)
    batch = pad(HISTORIES, Windows(HISTORIES.starts[:1], HISTORIES.starts[1:2]))
    length = batch.events.items.shape[1]
    assert length > 6  # so that some prefixes are cut
    at = torch.arange(length)
    with torch.no_grad():
        mine = streaming.network.next_item_logits(
            streaming.network.encode(batch.events), batch.events
        )[0]
        windows = [slice(max(0, end - 6), end) for end in range(1, length + 1)]
        encoded = [
            model.encode(Sequences(*(c[:, cut] for c in batch.events[:4])))[0, -1]
            for cut in windows
        ]
        theirs = model.logits_at(torch.stack(encoded), batch.events, torch.zeros_like(at), at)
    seen = streaming.network.membership.seen(batch.events.items, batch.events.mask)
    guide = said.guide(torch.from_numpy(batch.begins)[0] + at, seen)
    logits = (guide.x @ guide.table.mT + guide.bias).index_put(
        (seen.position, seen.item), guide.extra, accumulate=True
    )
    torch.testing.assert_close(logits, (mine + theirs) / 2, rtol=1e-4, atol=1e-4)


def test_a_student_comes_closer_to_what_it_is_told() -> None:
    """With all weight on a teacher of random opinions,
    the student's loss falls towards the teacher's entropy.
    """
    torch.set_num_threads(1)
    settings = TrainConfig(
        epochs=6,
        tokens=64,
        learning_rate=1e-2,
        dropout=0.0,
        average_decay=0.9,
        click_weight=0.0,
        teacher_weight=1.0,
    )
    held = Held.last(HISTORIES)
    told = train(
        SHAPE, settings, VOCABULARY, HISTORIES, held, show_progress=False, teachers=[teacher(0)]
    )
    alone = train(SHAPE, settings, VOCABULARY, HISTORIES, held, show_progress=False)
    assert told.history[-1].next_item < told.history[0].next_item
    assert told.best.ndcg10 < alone.best.ndcg10  # the circle is not what this teacher teaches


def test_a_teacher_of_another_catalogue_is_refused() -> None:
    """Also one that knows the same items under other numbers."""
    with pytest.raises(TrainingError, match="train it on the same data"):
        teacher(0, VOCABULARY.items[::-1]).opinion(HISTORIES, VOCABULARY)
