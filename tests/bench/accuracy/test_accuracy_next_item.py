"""The command that trains, evaluates and adds rows, and the page made of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from bench.accuracy import next_item, page, recipes, rows
from bench.accuracy.split import Split
from tests.training.logs import cyclic_log
from training.data import datasets
from training.data.clicklog import joined
from training.errors import DatasetError
from training.fit.harness import FitConfig
from training.rules.methods import METHODS

FEW = ("epochs=1", "length=8", "tokens=128", "device=cpu")


@pytest.fixture
def circle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The circle walkers in the place of any data set."""
    monkeypatch.setattr(datasets, "load", lambda name, path=None: cyclic_log())


@pytest.mark.usefixtures("circle")
@pytest.mark.parametrize(
    ("model", "membership"), [("sasrec", True), ("echomamba4rec", False), ("popularity", False)]
)
def test_a_run_adds_its_row(model: str, membership: bool, tmp_path: Path) -> None:
    """The row names model, settings that were changed, figures and their intervals."""
    table = tmp_path / "accuracy.json"
    changes = (*FEW, "prefixes=20") if model == "echomamba4rec" else FEW
    next_item.measure("circle", model, membership=membership, seed=1, changes=changes, table=table)
    (row,) = rows.read(table)
    assert (row["model"], row["seed"]) == (model + ("+membership" if membership else ""), 1)
    assert row["intervals"]["ndcg10"][0] <= row["ndcg10"] <= row["intervals"]["ndcg10"][1]
    assert row["changed"]["length"] == 8


@pytest.mark.usefixtures("circle")
@pytest.mark.parametrize("model", METHODS)
def test_a_simple_method_stands_in_both_tables(model: str, tmp_path: Path) -> None:
    """Beside whole models and beside what is served, with the same figures."""
    table = tmp_path / "accuracy.json"
    served, ranked = sorted(
        next_item.measure("circle", model, table=table), key=lambda row: row["task"], reverse=True
    )
    assert (served["task"], ranked["task"]) == ("recommend", "next-item")
    assert served["hr20"] == ranked["hr20"]
    assert served["ndcg10"] == ranked["ndcg10"]
    with pytest.raises(ValueError, match=f"{model} is what it is"):
        next_item.measure("circle", model, changes=["epochs=3"], table=table)


def test_simple_methods_know_all_from_before_the_test() -> None:
    """The events that choose a model's epoch, too: later ones of the same users, or of others."""
    log = cyclic_log(users=1_100, length=3)
    sessions = Split.by("tmall", log).known()
    assert len(sessions.users) == 1_100 - 1_027
    assert sessions.lengths().tolist() == [3] * 73
    assert sessions.starts[-1] == len(sessions.items) == len(sessions.times_ms)
    assert Split.by("circle", log).known().lengths().tolist() == [2] * 1_100


@pytest.mark.usefixtures("circle")
def test_the_streaming_model_gives_a_row_as_trained_and_one_as_shipped(tmp_path: Path) -> None:
    """Shipped rows say what a user's state costs; all come from one training:
    lists of 20, and three kinds of candidates at two levels.
    """
    sizes = (
        "width=32",
        "expand=2",
        "heads=4",
        "state_size=4",
        "head_width=16",
        "ring_length=8",
        "tail_length=16",
        "slots=4",
    )
    next_item.measure(
        "circle",
        "echorank",
        changes=(*FEW, *sizes, "positions=2"),
        table=tmp_path / "accuracy.json",
    )
    trained, shipped, *scored = rows.read(tmp_path / "accuracy.json")
    assert (trained["task"], shipped["task"]) == ("next-item", "recommend")
    assert shipped["hr10"] <= shipped["hr20"] == 1.0
    assert {row["task"] for row in scored} == {"score"}
    assert [(row["candidates"], row["level"]) for row in scored] == [
        (shelf, level) for shelf in ("popular", "top", "uniform") for level in ("FULL", "SEQUENCE")
    ]
    assert all(row["intervals"]["ndcg10"][0] <= row["ndcg10"] for row in scored)
    # the 12 items of the catalogue, whoever draws them, in the order of the next-item logit
    assert scored[3]["ndcg10"] == pytest.approx(shipped["ndcg10"], abs=0.1)
    assert (trained["model"], shipped["model"]) == ("echorank", "echorank-int8")
    assert (trained["state_bytes"], shipped["state_bytes"] > 100) == (None, True)
    assert abs(trained["ndcg10"] - shipped["ndcg10"]) < 0.1


@pytest.mark.parametrize("model", ["sasrec", "popularity"])
def test_a_time_split_has_a_table_of_its_own_and_one_of_new_users(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows carry the protocol in the data set's name; users who came late are asked apart."""
    log = cyclic_log()
    few = cyclic_log(users=4)
    names = np.array([f"new-{user}" for user in few.users], dtype=object)
    late = dataclasses.replace(few, users=names, times_ms=few.times_ms + log.times_ms.max())
    both = joined([log, late])
    monkeypatch.setattr(datasets, "load", lambda name, path=None: both)
    table = tmp_path / "accuracy.json"
    next_item.measure("circle", model, changes=FEW, table=table, protocol="time")
    known, new = rows.read(table)
    assert known["dataset"] == "circle, by time"
    assert new["dataset"] == "circle, by time, new users"
    assert known["hr20"] >= known["hr10"]
    assert known["questions"] + new["questions"] > 30
    assert "hr20 | mrr20" in page.write(table).read_text()


@pytest.mark.usefixtures("circle")
@pytest.mark.parametrize(
    ("data", "protocol", "message"),
    [
        ("beauty", "time", r"beauty has no time line.*is for ml-100k, ml-1m, foursquare-nyc"),
        ("circle", "weeks", "unknown protocol 'weeks'; known is 'time'"),
    ],
)
def test_a_protocol_that_does_not_fit_is_refused(
    data: str, protocol: str, message: str, tmp_path: Path
) -> None:
    """Before anything is trained: the set has no common clock, or the word is wrong."""
    with pytest.raises(DatasetError, match=message):
        next_item.measure(data, "popularity", table=tmp_path / "accuracy.json", protocol=protocol)


def test_a_set_of_sessions_is_asked_as_published() -> None:
    """Its split has the tested sessions' later clicks, of a set of users the last events."""
    log = cyclic_log(users=1_100, length=3)
    assert Split.by("tmall", log).test.tails.sum() == 1_027 * 2
    assert Split.by("circle", log).test.tails.sum() == 1_100


@pytest.mark.usefixtures("circle")
@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ("sasrec", ("width",), "write each as NAME=VALUE"),
        ("sasrec", ("widht=3",), r"unknown settings \['widht'\]; known are"),
        ("sas", (), "unknown model 'sas'; known are echorank"),
        ("sasrec", ("epochs=0",), "epochs = 0 must be at least 1"),
    ],
)
def test_mistakes_are_named(
    model: str, changes: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    """A wrong model or setting is refused before anything is trained."""
    with pytest.raises(ValueError, match=message):
        next_item.measure("circle", model, changes=changes, table=tmp_path / "accuracy.json")


def test_every_recipe_is_made_of_known_settings() -> None:
    """No name in the table of recipes is misspelt."""
    for data in recipes.RECIPES:
        for model in recipes.MODELS:
            values = {
                name: value
                for name, value in recipes.recipe_of(data, model).items()
                if name != "prefixes"
            }
            next_item.configured(values, next_item.ModelConfig, next_item.TrainConfig)


def test_committed_rows_are_trained_to_the_end_of_their_recipes() -> None:
    """Each ran all its epochs or stopped for lack of a better one,
    so none is left from a recipe that was shorter.
    """
    for row in rows.read():
        if row["task"] == "ctr" or "epochs" not in row:
            continue
        model = row["model"].removesuffix("+membership").removesuffix("-int8")
        data = row["dataset"].partition(",")[0]
        settings = {**recipes.recipe_of(data, model), **row.get("changed", {})}
        waited = row["epochs"] - row["best_epoch"]
        patience = settings.get("patience", FitConfig.patience)
        assert row["epochs"] == settings["epochs"] or waited == patience, (
            f"train anew: {row['command']}"
        )


def test_the_page_has_means_and_spreads(tmp_path: Path) -> None:
    """Two seeds of one model make one line; the best model comes first;
    commands stand below, once each.
    """
    table = tmp_path / "accuracy.json"
    figures = dict.fromkeys(rows.FIGURES["next-item"], 0.0)
    for model, seed, ndcg in (("b", 0, 0.2), ("b", 1, 0.3), ("a", 0, 0.1)):
        row = rows.row(
            "next-item",
            "d",
            model,
            seed,
            {**figures, "ndcg10": ndcg},
            train_minutes=1.0,
            state_bytes=3648,
        )
        rows.add({**row, "command": f"make {model}"}, table)
    text = page.write(table).read_text()
    lines = [line for line in text.splitlines() if line.startswith(("| a", "| b"))]
    assert [line.split("|")[1].strip() for line in lines] == ["b", "a"]
    assert "0.2500 ± 0.0707" in lines[0]
    assert "±" not in lines[1]
    assert "3,648" in lines[1]
    assert text.count("`make b`") == 1
    assert json.loads(table.read_text())


def test_what_is_served_leads_the_page(tmp_path: Path) -> None:
    """Lists, then a table for each kind of candidates with both levels, then the rest;
    a level that a bundle does not answer at says so.
    """
    table = tmp_path / "accuracy.json"
    tasks: list[rows.Task] = ["next-item", "score", "score", "score", "recommend", "ctr"]
    for number, task in enumerate(tasks):
        more: dict[str, object] = {"ctr": {"multiply_adds": 10}}.get(task, {})
        if task == "score":
            level = ("FULL", "SEQUENCE", "SEQUENCE")[number - 1]
            kind = ("top", "top", "popular")[number - 1]
            more = {"candidates": kind, "level": level, "answered": level == "SEQUENCE"}
        figures = dict.fromkeys(rows.FIGURES[task], 0.1)
        rows.add(
            rows.row(task, "d", "m", 0, figures, train_minutes=1.0, state_bytes=1, **more), table
        )
    text = page.write(table).read_text()
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "## recommend: d",
        "## score: d, popular",
        "## score: d, top",
        "## next-item: d",
        "## ctr: d",
    ]
    answers = {
        line.split("|")[1].strip(): line.split("|")[-2].strip()
        for line in text.splitlines()
        if line.startswith(("| m FULL", "| m SEQUENCE"))
    }
    assert answers == {"m FULL": "no", "m SEQUENCE": "yes"}


def test_a_run_with_other_settings_stands_beside_the_recipes(tmp_path: Path) -> None:
    """`--set` and teachers make another run,
    which neither replaces nor is averaged with the plain one.
    """
    table = tmp_path / "accuracy.json"
    figures = dict.fromkeys(rows.FIGURES["next-item"], 0.1)
    for more in ({}, {"changed": {"epochs": 2}}, {"teachers": 1}, {"changed": {"epochs": 2}}):
        rows.add(
            rows.row(
                "next-item", "d", "m", 0, figures, train_minutes=1.0, state_bytes=None, **more
            ),
            table,
        )
    assert [rows.label(row) for row in rows.read(table)] == ["m", "m (epochs=2)", "m (teachers=1)"]
    lines = [
        line
        for line in page.write(table).read_text().splitlines()
        if line.startswith(("| m |", "| m ("))
    ]
    assert [line.split("|")[2].strip() for line in lines] == ["1", "1", "1"]
