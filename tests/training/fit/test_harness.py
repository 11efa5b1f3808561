"""The loop that fits everything, against the same loop written out."""

from __future__ import annotations

import copy

import numpy as np
import torch

from model.config import ModelConfig
from model.network.network import Network
from tests.training.logs import cyclic_log
from training.data.sequences import Held, Histories, Vocabulary, groups, training_windows
from training.fit.harness import Line, Schedule
from training.fit.initial import start_from_data
from training.fit.train import StreamingTask, TrainConfig, train
from training.measure.evaluate import NetworkRanker, rank
from training.measure.strength import strength_of

SHAPE = ModelConfig(
    width=32, expand=2, heads=4, state_size=4, head_width=16, ring_length=8, tail_length=16, slots=4
)
SETTINGS = TrainConfig(
    epochs=2, tokens=64, dropout=0.1, average_decay=0.9, positions=2, negatives=3
)


def test_the_streaming_models_training_is_this_loop() -> None:
    """Losses, metrics and weights equal, to the bit, those of the plain loop that follows."""
    torch.set_num_threads(1)
    vocabulary = Vocabulary.of(cyclic_log(), hashed=8)
    everything = Histories.of(cyclic_log(), vocabulary)
    training = everything.without_last(2)
    held = Held.last(everything.without_last(1))
    heard: list[Line] = []
    model = train(
        SHAPE, SETTINGS, vocabulary, training, held, show_progress=False, on_epoch=heard.append
    )

    random = np.random.default_rng(SETTINGS.seed)
    torch.manual_seed(SETTINGS.seed)
    network = Network(ModelConfig.from_json(model.network.config.to_json()), 12, SETTINGS.dropout)
    start_from_data(network, training, SETTINGS.seed)
    averaged = copy.deepcopy(network)
    schedule = Schedule(SETTINGS)
    task = StreamingTask(network, SETTINGS, training, held)
    optimizer = torch.optim.AdamW(
        network.parameters(), betas=SETTINGS.betas, weight_decay=0.01, fused=True
    )
    kept = []
    curve = []
    for epoch in range(SETTINGS.epochs):
        network.train()
        plan = groups(training_windows(training, 200, random), 64, random)
        losses = []
        for step, windows in enumerate(plan):
            losses.append(task.losses(windows, random))
            optimizer.zero_grad()
            (losses[-1] @ torch.tensor([1.0, 0.3, 0.1])).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.param_groups[0]["lr"] = SETTINGS.learning_rate * schedule.rate()
            optimizer.step()
            for slow, fast in zip(averaged.parameters(), network.parameters(), strict=True):
                slow.data.lerp_(fast.data, 1 - schedule.decay())
            schedule.advance((epoch + (step + 1) / len(plan)) / SETTINGS.epochs)
        found = rank(NetworkRanker(averaged), held, 12).summary()
        curve.append((*torch.stack(losses).mean(dim=0).tolist(), found["ndcg10"]))
        kept.append(copy.deepcopy(averaged.state_dict()))

    assert [(*line.losses, line.metrics["ndcg10"]) for line in heard] == curve
    averaged.load_state_dict(kept[model.best.epoch])
    assert model.strength == strength_of(averaged.eval(), held, SETTINGS.seed)
    averaged.evidence.temper(model.strength)
    best = averaged.state_dict()
    assert all(
        torch.equal(weight, best[name]) for name, weight in model.network.state_dict().items()
    )
