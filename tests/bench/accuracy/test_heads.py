"""The study of what the head sees: heads side by side are the product's, each with less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.accuracy import rows
from bench.accuracy.heads import study
from bench.accuracy.heads.network import WHOLE, WITHOUT, ManyHeads
from bench.accuracy.heads.study import ALONE
from bench.accuracy.split import Split
from model.config import ModelConfig
from model.network.embedding import Sequences
from tests.training.logs import cyclic_log
from training.fit.allocation import prepare_process

SMALL = ModelConfig(width=64, ring_length=4, head_ring=2)


def _logits(network: ManyHeads, items: list[int]) -> torch.Tensor:
    events = Sequences(
        items=torch.tensor([items]),
        actions=torch.zeros(1, len(items), dtype=torch.int64),
        times_ms=60_000 * torch.arange(len(items))[None],
        mask=torch.ones(1, len(items), dtype=torch.bool),
    )
    at = torch.tensor([[len(items) - 1]])
    asked = torch.tensor([[[0, 1, 2]]])
    return network.head(network.encode(events), events, at, asked, torch.tensor([[600_000]]))


@pytest.mark.parametrize("name", WITHOUT)
def test_a_head_does_not_see_what_it_is_without(name: str) -> None:
    """Other weights of a part change the logits of the heads that see it, and of no others."""
    torch.manual_seed(0)
    network = ManyHeads(SMALL, 5).eval()
    network.wear(name)
    torch.nn.init.normal_(network.evidence.out)
    before = _logits(network, [0, 1, 2])
    torch.nn.init.normal_(network.ring.key.weight)
    ringed = _logits(network, [0, 1, 2])
    torch.nn.init.normal_(network.lowrank.assign.weight)
    assert torch.equal(before, ringed) == ("ring" in WITHOUT[name])
    assert torch.equal(ringed, _logits(network, [0, 1, 2])) == ("slots" in WITHOUT[name])


def test_every_head_learns_and_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One training gives a row for each head and one without; what is not read costs no bytes."""
    prepare_process()
    tiny = {"epochs": 1, "tokens": 256, "length": 20}
    monkeypatch.setattr(study, "recipe_of", lambda data, model: tiny)
    split = Split.of(cyclic_log())
    table = tmp_path / "heads.json"
    added = study.measure(split, "cyclic", "cyclic", 0, table, {})
    assert {row["model"] for row in rows.read(table)} == {ALONE, *WITHOUT}
    assert len(added) == len(WITHOUT) + 1
    by_name = {row["model"]: row for row in added}
    saved = by_name[WHOLE]["state_bytes"] - by_name["ring attention"]["state_bytes"]
    assert saved == 4 * (128 + 8)
    assert all(np.isfinite(row["scores"]["popular"]["gauc"]) for row in added)
    assert "| neither | 1 |" in study.markdown(added)
