"""README, ARCHITECTURE and docs/ name nothing that is not there; each rule catches a bad page."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cluster.cli.main import app
from cluster.settings.config import Settings
from cluster.settings.docs import settings_of
from tests import paper_names as names
from tests.monitoring.prometheus_names import declared, series

ROOT = Path(__file__).parent.parent
# HR@10 and NDCG@10 from papers of others, in the order of docs/accuracy.md.
PUBLISHED = {
    "0.3344 / 0.1973",
    "0.3412 / 0.1979",
    "0.3334 / 0.1917",
    "0.3164 / 0.1813",
    "0.3133 / 0.1772",
    "0.0863 / 0.0441",
    "0.0854 / 0.0433",
    "0.0842 / 0.0421",
    "0.1041 / 0.0614",
    "0.0992 / 0.0591",
    "0.1016 / 0.0599",
    "0.0928 / 0.0523",
    "0.1226 / 0.0657",
    "0.0970 / 0.0580",
    "0.0633 / 0.0367",
    "0.3121 / 0.1822",
    "0.0734 / 0.0431",
}
Rule = Callable[[str, str, names.Known], Iterator[str]]
RULES: tuple[Rule, ...] = (
    names.length,
    names.links,
    names.paths,
    names.tests,
    names.symbols,
    names.words,
    names.targets,
    names.settings,
    names.environment,
    names.metrics,
    names.commands,
)
SMALL = names.Known(
    files=frozenset({"README.md", "docs/a.md", "actors/shard/shard.py", "tests/test_a.py"}),
    defined={
        "actors/shard/shard.py": frozenset({"Shard", "Shard.apply", "LIMIT"}),
        "tests/test_a.py": frozenset({"test_it"}),
    },
    words=frozenset({"Shard", "key_mismatch", "ECHORANK_CACHE"}),
    anchors={"docs/a.md": frozenset({"the-log"})},
    targets=frozenset({"demo"}),
    settings=frozenset({"kafka.group_id", "arms[].bundle"}),
    metrics=frozenset({"echorank_fold_seconds"}),
    commands={"train": frozenset({"--out"}), "archive ls": frozenset({"--json"})},
)
BAD: tuple[tuple[Rule, str], ...] = (
    (names.length, "a\n" * 121),
    (names.links, "[a](docs/b.md)\n"),
    (names.links, "[a](docs/a.md#nothing)\n"),
    (names.paths, "`actors/shard/store.py`\n"),
    (names.paths, "`actors/*/store.py`\n"),
    (names.paths, "`store.py`\n"),
    (names.paths, "```sh\npytest tests/test_b.py\n```\n"),
    (names.tests, "`tests/test_a.py::test_gone`\n"),
    (names.tests, "`tests/test_a.py::test_it`, `::test_gone`\n"),
    (names.symbols, "`Store` (`actors/shard/shard.py`)\n"),
    (names.symbols, "`actors.shard.shard.Store`\n"),
    (names.symbols, "`Shard.own`\n"),
    (names.symbols, "```python\nfrom actors.shard.shard import Store\n```\n"),
    (names.words, "`SomeStore`\n"),
    (names.words, "`wrong_key`\n"),
    (names.targets, "`make fly`\n"),
    (names.targets, "```sh\nmake fly\n```\n"),
    (names.settings, "`kafka.group`\n"),
    (names.settings, "`kafka.group: a`\n"),
    (names.settings, "`ECHORANK__KAFKA__GROUP`\n"),
    (names.settings, "```yaml\nkafka:\n  group: a\n```\n"),
    (names.environment, "`ECHORANK_HOME`\n"),
    (names.metrics, "`echorank_fold_minutes`\n"),
    (names.metrics, '`fold_minutes{arm="main"}`\n'),
    (names.commands, "`echorank fly`\n"),
    (names.commands, "`echorank train file --in a`\n"),
    (names.commands, "```sh\n.venv/bin/echorank archive ls --yaml\n```\n"),
    (names.commands, "`python -m bench.nothing`\n"),
)
GOOD: tuple[tuple[Rule, str], ...] = (
    (names.length, "a\n" * 120),
    (names.links, "[a](docs/a.md#the-log), [b](https://example.org/c), [c](docs/)\n"),
    (names.paths, "`actors/`, `actors/*/shard.py`, `shard.py`, docs/b.md, `out/c.py`\n"),
    (names.tests, "`tests/test_a.py`, `::test_it`, `test_a.py::test_it`\n"),
    (names.symbols, "`Shard` (`actors/shard/shard.py`), `Shard.apply`, `actors.shard.shard`\n"),
    (names.words, "`Shard`, `key_mismatch`, `click`, `fold_seconds`\n"),
    (names.targets, "`make demo`, and make do.\n"),
    (names.settings, "`kafka.group_id: a`, `arms[].bundle`, `ECHORANK__KAFKA__GROUP_ID`\n"),
    (names.settings, "```yaml\narms:\n  - {bundle: a}\n```\n"),
    (names.environment, "`ECHORANK_CACHE`\n"),
    (names.metrics, '`echorank_fold_seconds_bucket`, `fold_seconds{arm="main"}`\n'),
    (names.commands, "`echorank train file --out a`, `echorank archive ls --json`\n"),
)


def pages() -> dict[str, str]:
    """Every page that must be true today: CHANGELOG is history."""
    found = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")]
    return {page.relative_to(ROOT).as_posix(): page.read_text() for page in sorted(found)}


@cache
def known() -> names.Known:
    """What the project has, read from its files, its settings, its metrics and its commands."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [file for file in found.splitlines() if (ROOT / file).is_file()]
    sources = [
        file
        for file in files
        if not file.endswith((".md", ".lock")) and not file.startswith("bench/results/")
    ]
    texts = {file: (ROOT / file).read_text(errors="replace") for file in sources}
    return names.Known(
        files=frozenset(files),
        defined={f: frozenset(_defined(t)) for f, t in texts.items() if f.endswith(".py")},
        words=frozenset(w for f, t in texts.items() if not _is_of_this(f) for w in _words(t)),
        anchors={page: frozenset(_anchors(text)) for page, text in _all_pages(files)},
        targets=frozenset(re.findall(r"^([a-z][a-z0-9-]*):", texts["Makefile"], re.MULTILINE)),
        settings=frozenset(path for path, _ in settings_of(Settings)),
        metrics=frozenset(declared()) | series().keys(),
        commands=dict(_commands(get_command(app))),
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_papers_keep_the_rule(rule: Rule) -> None:
    """No page breaks the rule; each violation is listed with its line."""
    assert len(pages()) > 10
    violations = [wrong for path, text in pages().items() for wrong in rule(path, text, known())]
    assert not violations, "\n" + "\n".join(violations)


@pytest.mark.parametrize(("rule", "text"), BAD)
def test_a_rule_catches_what_is_not_there(rule: Rule, text: str) -> None:
    """A page that names what is not there gives exactly one violation, which names the line."""
    (violation,) = rule("README.md", text, SMALL)
    assert re.match(r"README\.md:\d+: ", violation)


@pytest.mark.parametrize(("rule", "text"), GOOD)
def test_a_rule_lets_the_rest_pass(rule: Rule, text: str) -> None:
    """A page that names what is there gives no violation."""
    assert list(rule("README.md", text, SMALL)) == []


def test_scripts_name_targets_that_exist() -> None:
    """Every `make X` of the script of CI is a target of the Makefile."""
    script = (ROOT / ".ci" / "run").read_text()
    violations = list(names.targets(".ci/run", f"```sh\n{script}\n```\n", known()))
    assert not violations, "\n" + "\n".join(violations)


def test_each_metric_is_explained() -> None:
    """The table of metrics in the operator's guide has every metric, and no other."""
    guide = (ROOT / "docs" / "operations.md").read_text()
    table = guide.partition("## Metrics\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    explained = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    total = {"counter": "_total"}
    wanted = [name + total.get(kind, "") for name, (kind, _) in declared().items()]
    assert sorted(f"echorank_{name}" for name in explained) == sorted(wanted)


def test_each_dependency_is_explained() -> None:
    """The table of dependencies in ARCHITECTURE has every package that is declared."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared_ones = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    table = (ROOT / "ARCHITECTURE.md").read_text().partition("## Dependencies\n")[2].lower()
    packages = {re.split(r"[^\w-]", each)[0].lower() for each in declared_ones}
    missing = {each for each in packages if each not in table}
    assert not missing


def test_each_decision_is_in_both_tables() -> None:
    """The index of decisions and ARCHITECTURE link every page of a decision."""
    decisions = sorted(page.name for page in (ROOT / "docs" / "decisions").glob("0*.md"))
    for page in ("ARCHITECTURE.md", "docs/decisions/README.md"):
        linked = re.findall(r"\((?:docs/decisions/)?(\d{4}-[\w-]+\.md)\)", pages()[page])
        assert sorted(set(linked)) == decisions, page


def test_figures_of_accuracy_are_those_of_the_results() -> None:
    """What README and docs/accuracy.md say of our models stands in the page of results."""
    results = (ROOT / "bench" / "results" / "accuracy.md").read_text()
    readme = pages()["README.md"].partition("### How good the scores are\n")[2].partition("\n## ")
    accuracy = pages()["docs/accuracy.md"].partition("## Next item\n")
    quoted = set(re.findall(r"\b0\.\d{4}\b", readme[0] + accuracy[2]))
    assert len(quoted) > 20
    published = {figure for pair in PUBLISHED for figure in pair.split(" / ")}
    assert sorted(figure for figure in quoted - published if figure not in results) == []


def test_shapes_are_in_the_letters_of_the_glossary() -> None:
    """A letter of a shape (`# (B, L, D)`) in model/ and training/ is one that the glossary has."""
    rows = pages()["docs/glossary.md"].partition("## Letters of dimensions\n")[2]
    letters = {each for row in re.findall(r"^\| ([A-Z, ]+) \|", rows, re.M) for each in row}
    foreign = [
        violation
        for file in sorted(known().defined)
        if file.startswith(("model/", "training/"))
        for violation in names.shapes(file, (ROOT / file).read_text(), letters)
    ]
    assert {"B", "F", "G"} <= letters
    assert not foreign, "\n" + "\n".join(foreign)
    assert len(list(names.shapes("model/a.py", "x = y  # (B, X)\nz = x  # (B)\n", letters))) == 1


def _defined(text: str) -> Iterator[str]:
    """What a module defines: names at its top, and `Class.member`."""
    for node in ast.parse(text).body:
        for name in _bound(node):
            yield name
            if isinstance(node, ast.ClassDef):
                yield from (f"{name}.{each}" for member in node.body for each in _bound(member))


def _bound(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z_]\w+", text)


def _is_of_this(file: str) -> bool:
    return file in {"tests/test_papers.py", "tests/paper_names.py"}


def _all_pages(files: list[str]) -> Iterator[tuple[str, str]]:
    for file in files:
        if file.endswith(".md"):
            yield file, (ROOT / file).read_text()


def _anchors(text: str) -> Iterator[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _commands(command: Any, name: str = "") -> Iterator[tuple[str, frozenset[str]]]:
    own = [option for parameter in command.params for option in parameter.opts]
    yield name, frozenset([*own, "--help", "-h"])
    for each, subcommand in getattr(command, "commands", {}).items():
        yield from _commands(subcommand, f"{name} {each}".strip())
