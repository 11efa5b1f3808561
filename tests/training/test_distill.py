"""Teachers: what they say is the mean of their logits, and a student learns it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.config import ModelConfig
from model.network import Network
from tests.training.logs import cyclic_log
from training.checkpoint import Checkpoint
from training.distill import Teachers
from training.errors import TrainingError
from training.sequences import Held, Histories, Vocabulary, Windows, pad
from training.train import TrainConfig, train

SHAPE = ModelConfig(width=32, heads=4, state_size=4, head_width=16, ring_length=8, tail_length=16, slots=4)
VOCABULARY = Vocabulary.of(cyclic_log(), hashed=8)
HISTORIES = Histories.of(cyclic_log(), VOCABULARY)


def teacher(seed: int, items: tuple[str, ...] = VOCABULARY.items, width: int = 32) -> Checkpoint:
    """An untrained model with lively weights."""
    torch.manual_seed(seed)
    network = Network(replace(SHAPE, width=width, hashed_items=8), len(items)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    counts, calibration = np.ones(len(items), dtype=np.int64), np.array([[1.0, 0.0]] * 3)
    return Checkpoint(network=network, items=items, counts=counts, calibration=calibration, metadata={})


def test_teachers_speak_as_the_mean_of_their_logits() -> None:
    """Of two models of different width, after every event of two histories, membership included."""
    both = [teacher(0), teacher(1, width=64)]
    said = Teachers(both, HISTORIES, VOCABULARY, 0.5)
    batch = pad(HISTORIES, Windows(HISTORIES.starts[:2], HISTORIES.starts[1:3]))
    with torch.no_grad():
        each = [one.network.next_item_logits(one.network.encode(batch.events), batch.events) for one in both]
    expected = torch.stack(each).mean(dim=0)  # (2, L, V)
    seen = both[0].network.membership.seen(batch.events.items, batch.events.mask)
    for user in range(2):
        place = torch.from_numpy(batch.begins)[user] + torch.arange(int(batch.events.mask[user].sum()))
        mine = seen.user == user
        guide = said.guide(place, seen.age[mine])
        logits = (guide.x @ guide.table.mT + guide.bias).index_put(
            (seen.position[mine], seen.item[mine]), guide.extra, accumulate=True
        )
        torch.testing.assert_close(logits, expected[user, : len(place)], rtol=1e-4, atol=1e-4)


def test_a_student_comes_closer_to_what_it_is_told() -> None:
    """With all weight on a teacher of random opinions, the student's loss falls towards the teacher's entropy."""
    torch.set_num_threads(1)
    settings = TrainConfig(
        epochs=6, tokens=64, learning_rate=1e-2, dropout=0.0, average_decay=0.9, click_weight=0.0, teacher_weight=1.0
    )
    held = Held.last(HISTORIES)
    told = train(SHAPE, settings, VOCABULARY, HISTORIES, held, show_progress=False, teachers=[teacher(0)])
    alone = train(SHAPE, settings, VOCABULARY, HISTORIES, held, show_progress=False)
    assert told.history[-1].next_item < told.history[0].next_item
    assert told.best.ndcg10 < alone.best.ndcg10  # the circle is not what this teacher teaches


def test_a_teacher_of_another_catalogue_is_refused() -> None:
    """Also one that knows the same items under other numbers."""
    with pytest.raises(TrainingError, match="train it on the same data"):
        Teachers([teacher(0, VOCABULARY.items[::-1])], HISTORIES, VOCABULARY, 0.5)
