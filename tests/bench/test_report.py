"""Where a result goes: among the committed ones only from a tree that is a commit's."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bench import fold, report
from bench.accuracy import __main__ as studies
from bench.accuracy import rows
from tests.bench.accuracy.made_rows import row_of
from tests.chaos import __main__ as chaos
from tests.chaos import summary

CODE = "bench/code.py"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small checkout with one commit, in the place of this one."""
    results = tmp_path / "bench" / "results"
    (results / "raw").mkdir(parents=True)
    (tmp_path / CODE).write_text("a = 1\n")
    (tmp_path / ".gitignore").write_text("out/\n")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "RESULTS", results)
    monkeypatch.setattr(report, "RAW", results / "raw")
    monkeypatch.setattr(report, "QUICK", tmp_path / "out" / "bench")
    report._head.cache_clear()
    yield tmp_path
    report._head.cache_clear()


def change(tree: Path) -> None:
    """Leave the tree as no commit has it."""
    (tree / CODE).write_text("a = 2\n")


def test_a_result_of_a_commit_names_it(tree: Path) -> None:
    """Figures below raw/, the page above; other results, and files that are no code, do not make
    the tree another one.
    """
    (tree / "bench" / "results" / "raw" / "other.json").write_text("{}")
    (tree / "clicks.csv").write_text("a,b\n")
    folder = report.folder_for(quick=False)
    origin = report.provenance(quick=False)
    assert report.write("name", {**origin}, "# Name\n", folder) == tree / "bench" / "results"
    kept = json.loads((folder / "raw" / "name.json").read_text())
    assert (folder / "name.md").read_text() == "# Name\n"
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tree, capture_output=True, check=True)
    assert kept["commit"] == head.stdout.decode()[:12]


@pytest.mark.parametrize("path", [CODE, "bench/new.py"])
def test_a_changed_tree_is_refused_before_the_run(tree: Path, path: str) -> None:
    """Changed and new code is named, and what to do."""
    (tree / path).write_text("a = 2\n")
    with pytest.raises(report.UncommittedChanges, match=rf"{path}\. Commit, or write somewhere"):
        report.folder_for(quick=False)


def test_a_tree_without_a_commit_is_refused(tree: Path) -> None:
    """A copy without git's history cannot say what it is."""
    (tree / ".git").rename(tree / "out")
    with pytest.raises(report.UncommittedChanges, match="git knows no commit here"):
        report.folder_for(quick=False)


def test_a_changed_tree_may_write_elsewhere(tree: Path) -> None:
    """A trial and a run to a folder of one's own say in the file that the tree was changed."""
    change(tree)
    for folder in (report.folder_for(quick=True), report.folder_for(False, tree / "mine")):
        written = report.write("name", {**report.provenance(quick=True)}, "", folder)
        assert not written.is_relative_to(report.RESULTS)
        found = json.loads((written / "raw" / "name.json").read_text())
        assert found["commit"].endswith("-dirty")


def test_a_tree_changed_during_the_run_loses_no_figures(tree: Path) -> None:
    """They go where a trial's go, and the committed ones stay as they were."""
    folder = report.folder_for(quick=False)
    change(tree)
    assert report.write("name", {"a": 1}, "", folder) == tree / "out" / "bench"
    assert json.loads((tree / "out" / "bench" / "raw" / "name.json").read_text()) == {"a": 1}
    assert not list(report.RESULTS.rglob("name.*"))


def test_another_commit_checked_out_during_the_run_is_a_change(tree: Path) -> None:
    """A run that starts processes had code of both; a commit of results alone is none."""
    folder = report.folder_for(quick=False)
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    report.write("name", {"a": 1}, "", folder)
    subprocess.run([*git, "add", "."], cwd=tree, check=True)
    subprocess.run([*git, "commit", "-qm", "results"], cwd=tree, check=True)
    assert report.changes() == []
    change(tree)
    subprocess.run([*git, "commit", "-qam", "code"], cwd=tree, check=True)
    assert report.changes() == [CODE]


def test_rows_of_a_changed_tree_stay_out_of_the_table(tree: Path) -> None:
    """The row that a long training gave is put below out/bench/ instead."""
    table = report.RAW / "accuracy.json"
    rows.add(row_of(1), table)
    change(tree)
    rows.add(row_of(2), table)
    assert [row["seed"] for row in rows.read(table)] == [1]
    [aside] = rows.read(tree / "out" / "bench" / "raw" / "accuracy.json")
    assert aside["seed"] == 2
    assert aside["commit"].endswith("-dirty")


@pytest.mark.parametrize(
    "command",
    [
        ["ctr", "--model", "none"],
        ["next-item", "--data", "ml-100k", "--model", "popularity"],
        ["ablations"],
        ["drift", "out/none"],
        ["noise"],
    ],
)
def test_studies_refuse_before_they_read_anything(tree: Path, command: list[str]) -> None:
    """Nothing is loaded or trained: the refusal is all that is said."""
    change(tree)
    tables = {"ctr": "--out", "next-item": "--table", "ablations": "--table"}
    if option := tables.get(command[0]):
        command = [*command, option, str(report.RAW / "a.json")]
    said = CliRunner().invoke(studies.app, command)
    assert said.exit_code == 2
    assert "keeps only what one commit gives" in " ".join(said.output.split())


def test_a_benchmark_refuses_before_it_measures(tree: Path) -> None:
    """As a usage error, at once."""
    change(tree)
    app = typer.Typer()
    app.command()(fold.main)
    assert CliRunner().invoke(app, []).exit_code == 2


def test_faults_are_kept_by_name_and_from_a_commit_alone(tree: Path) -> None:
    """`--keep` refuses before anything is started; without it the summary goes below out/."""
    found: dict[str, Any] = {"lost": 0}
    out = tree / "out" / "chaos"
    assert summary.write(found, out, "") == [out / "summary.json"]
    assert summary.write(found, out, "chaos")[1] == report.RAW / "chaos.json"
    change(tree)
    assert summary.write(found, out, "chaos")[1] == report.QUICK / "raw" / "chaos.json"
    with pytest.raises(report.UncommittedChanges):
        chaos.main(keep="chaos", only="no such fault")
