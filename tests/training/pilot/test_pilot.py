"""The offline check of a bundle: what it measures, what it writes, what it refuses."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from rich.console import Console

from model.errors import BundleError
from tests.training.logs import cyclic_log
from tests.training.quick_training import QUICK, SHAPE
from training.data.clicklog import ClickLog
from training.errors import DatasetError
from training.measure.intervals import Estimate, estimates
from training.pilot.assessment import BUNDLE, FLOAT, POPULAR, RANK_METRICS
from training.pilot.criteria import criteria, verdict
from training.pilot.evaluate import evaluate_bundle
from training.pilot.results import read_accuracy, read_frontier
from training.publish import publish
from training.rules.methods import ALL
from training.runs import train_by_time, train_leave_one_out

BESIDE = 25
BETTER = "Better than the best simple method"
VOID = {"meta", "link", "br", "img", "path", "use", "line", "rect"}


def table_of(log: ClickLog) -> pa.Table:
    """The log under the column names of somebody else."""
    columns = {"uid": list(log.users), "sku": list(log.items), "ts": log.times_ms}
    return pa.table(columns)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle trained by time, one trained leave-one-out,
    and the log as CSV, Parquet and archive.
    """
    folder = tmp_path_factory.mktemp("made")
    log = cyclic_log()
    settings = dataclasses.replace(QUICK, epochs=3, device="cpu")
    for name, training in (("by-time", train_by_time), ("loo", train_leave_one_out)):
        run = training(
            log, data_set="file", date="d", shape=SHAPE, settings=settings, show_progress=False
        )
        publish(run.checkpoint, folder / name)
    csv.write_csv(table_of(log), folder / "log.csv")
    parquet.write_table(table_of(log), folder / "log.parquet")
    archived = {"user": list(log.users), "item": list(log.items), "action": ["click"] * len(log)}
    archived |= {"time_ms": log.times_ms, "offset": np.arange(len(log)), "record_ms": log.times_ms}
    (folder / "archive" / "partition=0").mkdir(parents=True)
    parquet.write_table(
        pa.table(archived), folder / "archive" / "partition=0" / f"{0:019d}-{len(log):019d}.parquet"
    )
    return folder


def check(
    folder: Path, data: str = "file", file: str = "log.csv", bundle: str = "by-time", **more: Any
) -> Any:
    """What the check finds; it prints to nowhere."""
    if data == "file":
        more = {"fields": {"user": "uid", "item": "sku", "time": "ts"}} | more
    quiet = Console(file=StringIO(), width=200)
    return evaluate_bundle(
        folder / bundle, data, beside_bytes=BESIDE, path=folder / file, **{"console": quiet} | more
    )


@pytest.mark.parametrize(
    ("data", "file"), [("file", "log.csv"), ("file", "log.parquet"), ("archive", "archive")]
)
def test_the_same_log_gives_the_same_figures_from_any_source(
    made: Path, data: str, file: str
) -> None:
    """CSV, Parquet with mapped columns, and the archive:
    the walkers' next item is found, popularity finds it less.
    """
    found, tested = check(made, data, file)
    assert found.ranking[BUNDLE]["ndcg10"].value > 0.8 > found.ranking[POPULAR]["ndcg10"].value
    assert set(found.ranking) == {BUNDLE, FLOAT, *ALL}
    for figures in found.ranking.values():
        assert set(figures) == set(RANK_METRICS)
        assert all(low <= value <= high for value, low, high in figures.values())
    assert found.asked == found.held == 36  # the newest tenth of 360
    assert found.cost.user_bytes == found.cost.state_bytes + BESIDE
    outcome = {each.name: each.passed for each in tested}
    assert set(outcome) >= {BETTER, f"{BETTER}, seen items out"}
    for name in (POPULAR, "frequency"):
        assert found.margin[name]["ndcg10"].low > 0
    assert outcome["Small enough"]
    assert not outcome["Enough clicks to judge by"]


@pytest.mark.parametrize(
    ("margin", "said"),
    [
        ((0.1, 0.05, 0.15), None),
        ((0.1, -0.05, 0.25), "as well as"),
        ((-0.1, -0.15, -0.05), "better than"),
    ],
)
def test_a_pilot_is_refused_where_a_simple_method_is_as_good(
    made: Path, margin: tuple[float, float, float], said: str | None
) -> None:
    """The best of all simple methods is the one that counts, in either way of asking, and is named
    with what it does.
    """
    found, _ = check(made)
    figures = {key: Estimate(0.2, 0.1, 0.3) for key in RANK_METRICS}
    best = "sequential-rules"
    found = dataclasses.replace(
        found,
        ranking=dict.fromkeys(found.ranking, figures)
        | {best: dict.fromkeys(RANK_METRICS, Estimate(0.4, 0.3, 0.5))},
        margin=dict.fromkeys(found.margin, dict.fromkeys(RANK_METRICS, Estimate(0.2, 0.1, 0.3)))
        | {best: dict.fromkeys(RANK_METRICS, Estimate(*margin))},
    )
    tested = criteria(found)
    passed = [each.passed for each in tested if each.name.startswith(BETTER)]
    assert passed == [said is None] * 2
    text = verdict(found, tested)
    sentence = (
        f"A simple method ranks {said} this bundle on this log{{}}: sequential-rules (what came "
        "soon after what), NDCG@10 0.4000 against 0.2000; pilot that first, or train longer."
    )
    for mode in ("", ", seen items out"):
        assert (sentence.format(mode) in text) == (said is not None)
    assert "the best simple method, sequential-rules: 40.0 %" in text
    assert text.endswith(" ".join(f"{each}." for each in found.look.describe()[:2]))


def test_nothing_that_the_bundle_learned_from_is_asked(made: Path, tmp_path: Path) -> None:
    """A log that ends before the training did has nothing to ask."""
    log = cyclic_log().by_time()
    csv.write_csv(table_of(log.rows(0, 200)), tmp_path / "old.csv")
    with pytest.raises(
        DatasetError,
        match=r"no click is left to ask about .* trained up to .* bring a log with newer",
    ):
        check(made, file=str(tmp_path / "old.csv"))


def test_a_bundle_beside_itself_differs_by_nothing(made: Path) -> None:
    """A paired comparison with itself is exactly 0; with another model it has an interval."""
    same = check(made, against=made / "by-time")[0].against
    assert all(tuple(gap) == (0.0, 0.0, 0.0) for gap in same.difference.values())
    assert same.own_clicks == same.other_clicks
    assert check(made, against=made / "loo")[0].against.count == 36


class Checker(HTMLParser):
    """Follows opening and closing tags, and keeps what refers elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [value for name, value in attrs if name in {"src", "href"} and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_page_stands_alone_and_is_sound(made: Path, tmp_path: Path) -> None:
    """Tags close, ids are unique, nothing comes from elsewhere, and JSON says the same figures."""
    results = tmp_path / "results"
    results.mkdir()
    rows = [
        {"states": name, "state_bytes": size, "ndcg10": 0.2, "hr10": 0.3}
        for name, size in (("a", 9), ("b", 5))
    ]
    (results / "compression.json").write_text(json.dumps({"rows": rows, "data": "ml-1m"}))
    run = {
        "dataset": "file",
        "task": "next-item",
        "model": "<SASRec>",
        "state_bytes": None,
        "hr10": 0.1,
    }
    (results / "accuracy.json").write_text(json.dumps([run | {"seed": seed} for seed in range(2)]))
    page = tmp_path / "deep" / "report.html"
    figures = tmp_path / "report.json"
    found, _ = check(made, report=page, json_out=figures, results=results, against=made / "loo")
    text = page.read_text()
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))
    assert all(link.startswith("#") and link[1:] in checker.ids for link in checker.links)
    assert not re.search(r"<script|@import|url\((?!#)", text)
    assert "&lt;SASRec&gt;" in text
    assert text.count("<svg") == 4
    assert "#1f6fec" not in text
    said = json.loads(figures.read_text())
    assert said["ranking"][BUNDLE]["ndcg10"]["value"] == found.ranking[BUNDLE]["ndcg10"].value
    assert said["ready"] is False
    assert said["best_simple"] == found.best_simple()
    assert said["look"]["events"] == len(cyclic_log())
    assert "How the log looks" in text


def test_without_results_the_page_says_how_to_make_them(made: Path, tmp_path: Path) -> None:
    """Sections without figures name the command."""
    check(made, report=tmp_path / "report.html", results=tmp_path)
    assert "python -m bench.accuracy compression" in (tmp_path / "report.html").read_text()


def test_tables_go_to_the_terminal_without_a_report(made: Path) -> None:
    """Figures, cost and verdict are printed."""
    heard = StringIO()
    check(made, console=Console(file=heard, width=200))
    for part in ("popularity", "processor time", "ready for a pilot?", "Not ready for a pilot"):
        assert part in heard.getvalue()


def damage(folder: Path) -> None:
    """Flip a byte of the weights."""
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (damage, "weights.safetensors is damaged"),
        (lambda folder: (folder / "manifest.json").unlink(), "no bundle at"),
    ],
)
def test_an_unusable_bundle_is_refused(
    made: Path, tmp_path: Path, break_it: Callable[[Path], None], message: str
) -> None:
    """A damaged bundle and a folder without one are told apart."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in (made / "by-time").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    break_it(copy)
    with pytest.raises(BundleError, match=message):
        check(made, bundle=str(copy))


def test_a_log_of_other_items_is_refused(made: Path, tmp_path: Path) -> None:
    """The overlap and an item of either side are named."""
    log = cyclic_log()
    other = dataclasses.replace(
        log, items=np.array([f"x{item}" for item in log.items], dtype=object)
    )
    csv.write_csv(table_of(other), tmp_path / "other.csv")
    with pytest.raises(
        DatasetError, match=r"0 of 360 events .* such as 'item-\d+'; the log's are such as 'xitem"
    ):
        check(made, file=str(tmp_path / "other.csv"))


def test_intervals_draw_users_not_clicks() -> None:
    """Two users with a thousand equal clicks each are two observations,
    so the interval reaches both.
    """
    users = np.repeat([0, 1], 1000)
    values = np.repeat([0.0, 1.0], 1000)
    assert tuple(estimates({"hr": values}, users)["hr"]) == (0.5, 0.0, 1.0)


def test_served_rows_lead(tmp_path: Path) -> None:
    """Lists first, then a table for each kind of candidates with a line a level, then the rest."""
    row = {"dataset": "d", "model": "m", "ndcg10": 0.5}
    shelf = {"task": "score", "candidates": "top"}
    rows = [
        row | {"task": "next-item"},
        row | shelf | {"level": "SEQUENCE"},
        row | shelf | {"level": "FULL"},
        row | {"task": "recommend", "hr20": 0.75},
        row | {"task": "ctr"},
    ]
    (tmp_path / "accuracy.json").write_text(json.dumps(rows))
    found = read_accuracy(tmp_path, "d")
    assert [(each.task, each.model) for each in found] == [
        ("recommend", "m"),
        ("score top", "m FULL"),
        ("score top", "m SEQUENCE"),
        ("next-item", "m"),
        ("ctr", "m"),
    ]
    assert found[0].figures == {"ndcg10": 0.5, "hr20": 0.75}


def test_damaged_results_are_named(tmp_path: Path) -> None:
    """A file that is no table is an error, a missing one is not."""
    assert read_frontier(tmp_path) is None
    assert read_accuracy(tmp_path, "ml-1m") == []
    (tmp_path / "compression.json").write_text("[1]")
    with pytest.raises(DatasetError, match=r"compression.json is no table of results"):
        read_frontier(tmp_path)
