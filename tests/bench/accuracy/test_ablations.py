"""The ablation study adds one row a run and compares runs of the same seed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bench.accuracy import ablations, next_item, rows
from bench.accuracy.split import Split
from bench.accuracy.variants import VARIANTS
from model.config import ModelConfig
from model.network.network import Network
from model.state import layout
from tests.training.logs import cyclic_log
from training.fit.allocation import prepare_process

TINY = {"epochs": 1, "tokens": 256, "length": 20}


def tiny(_: str, model: str) -> dict[str, int]:
    """One epoch, of a few prefixes where the model reads both ways."""
    return {**TINY, "prefixes": 20} if model == "echomamba4rec" else TINY


def test_every_change_is_a_model_that_can_be_built() -> None:
    """Each change is of settings that exist, in ranges that they allow."""
    for change in ablations.CHANGES.values():
        settings = {**next_item.recipe_of("ml-100k", "echorank"), **change}
        shape, recipe = next_item.configured(settings, ModelConfig, next_item.TrainConfig)
        built = {**dataclasses.asdict(recipe), **dataclasses.asdict(shape)}
        assert {name: built[name] for name in change} == dict(change)
        assert layout(shape).row_bytes > 0


def test_a_run_adds_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row has the change's name, what was changed, and the bytes of that shape."""
    prepare_process()
    monkeypatch.setattr(ablations, "recipe_of", tiny)
    split = Split.of(cyclic_log())
    table = tmp_path / "ablations.json"
    shipped = ablations.measure(split, "cyclic", ablations.SHIPPED, 0, table)
    smaller = ablations.measure(split, "cyclic", "N = 4", 0, table)
    assert [row["model"] for row in rows.read(table)] == ["N = 4", ablations.SHIPPED]
    assert smaller["changed"] == {"state_size": 4}
    assert smaller["state_bytes"] < shipped["state_bytes"]
    assert set(smaller["from_states"]) == set(ablations.FIGURES)
    fewer = ablations.measure(split, "cyclic", "N = 4", 0, table, {"slots": 2})
    assert fewer["dataset"] == "cyclic (slots=2)"
    assert fewer["state_bytes"] < smaller["state_bytes"]
    assert len(rows.read(table)) == 3


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_trains(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch gives a row that is not the product's."""
    prepare_process()
    monkeypatch.setattr(ablations, "recipe_of", tiny)
    split = Split.of(cyclic_log())
    shipped = ablations.measure(split, "cyclic", ablations.SHIPPED, 0, tmp_path / "ablations.json")
    row = ablations.measure(split, "cyclic", name, 0, tmp_path / "ablations.json")
    assert row["loss"] != shipped["loss"]
    assert (row["from_states"] is None) == (VARIANTS[name].network is not Network)


def test_differences_are_between_equal_seeds() -> None:
    """What a seed does to all models is no difference between them."""

    def row(name: str, seed: int, ndcg: float) -> rows.Row:
        figures = dict.fromkeys(rows.FIGURES["next-item"], ndcg)
        more = {"from_states": {"hr10": ndcg, "ndcg10": ndcg}}
        return rows.row(
            "next-item", "toy", name, seed, figures, train_minutes=1.0, state_bytes=10, **more
        )

    found = [
        row(ablations.SHIPPED, 0, 0.1),
        row(ablations.SHIPPED, 1, 0.3),
        row("with echo", 0, 0.2),
    ]
    page = ablations.markdown([*found, row("with echo", 1, 0.4)])
    assert "| with echo | 2 | 0.3000" in page
    assert "+0.1000 ± 0.0000" in page


def test_changes_that_a_recipe_has_anyway_are_passed_over() -> None:
    """Short logs are learned at width 64, long ones at 128:
    each is a change for the other alone.
    """
    assert ablations.changes_nothing("ml-100k", "width 64")
    assert ablations.changes_nothing("ml-1m", "width 128")
    assert not ablations.changes_nothing("ml-1m", "width 64")
    assert not ablations.changes_nothing("ml-1m", ablations.SHIPPED)
