"""The repository keeps its own rules, and each rule catches what it is there to catch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import tidy_rules as rules

ROOT = Path(__file__).parent.parent
FOLDERS = ("model", "actors", "cluster", "training", "monitoring", "bench", "tests", "rpc")
Rule = Callable[[str, str], Iterator[str]]

RULES: tuple[Rule, ...] = (
    rules.size,
    rules.direction,
    rules.purity,
    rules.torch_free,
    rules.documented_tests,
    rules.no_sleep,
    rules.file_name,
    rules.finished,
    rules.bare_package,
)

LONG_FUNCTION = "def f():\n" + "    a = 1\n" * (rules.FUNCTION_LINES_MAX + 1)
BAD: tuple[tuple[Rule, str, str], ...] = (
    (rules.size, "model/a.py", "a = 1\n" * (rules.LINES_MAX + 1)),
    (rules.size, "model/a.py", LONG_FUNCTION),
    (
        rules.size,
        "model/a.py",
        "class A:\n    async " + LONG_FUNCTION.replace("\n    ", "\n        "),
    ),
    (rules.direction, "model/a.py", "from actors.clicks.click import key\n"),
    (rules.direction, "model/a.py", "import monitoring.metrics\n"),
    (rules.direction, "monitoring/a.py", "import model.config\n"),
    (rules.direction, "training/a.py", "def f():\n    from cluster import main\n"),
    (rules.direction, "actors/a.py", "import training.fit.train\n"),
    (
        rules.direction,
        "actors/a.py",
        "if TYPE_CHECKING:\n    from cluster.settings.config import Settings\n",
    ),
    (rules.direction, "cluster/a.py", "from tests.fakes import Clock\n"),
    (rules.purity, "model/a.py", "import time\n"),
    (rules.purity, "model/a.py", "from kafka.errors import KafkaError\n"),
    (rules.purity, "model/a.py", "import os\nseed = os.environ['SEED']\n"),
    (rules.purity, "model/a.py", "from os import environ\n"),
    (rules.purity, "model/a.py", "now = datetime.now()\n"),
    (rules.torch_free, "actors/a.py", "def f():\n    import torch\n"),
    (rules.torch_free, "cluster/a.py", "from torch.nn import functional\n"),
    (rules.documented_tests, "tests/test_a.py", "def test_a():\n    assert f()\n"),
    (
        rules.documented_tests,
        "tests/test_a.py",
        "class TestA:\n    async def test_a(self):\n        await f()\n",
    ),
    (rules.no_sleep, "tests/test_a.py", "time.sleep(1)\n"),
    (rules.no_sleep, "tests/a.py", "async def f():\n    await sleep(0.1)\n"),
    (rules.file_name, "actors/utils.py", ""),
    (rules.file_name, "tests/test_helpers.py", ""),
    (rules.finished, "model/a.py", "# TODO: later\n"),
    (rules.finished, "actors/a.py", "def f():\n    raise NotImplementedError\n"),
    (rules.bare_package, "model/__init__.py", "from model.config import ModelConfig\n"),
    (rules.bare_package, "model/__init__.py", '"""Models."""\nVERSION = 1\n'),
)
GOOD: tuple[tuple[Rule, str, str], ...] = (
    (rules.size, "model/a.py", "a = 1\n" * rules.LINES_MAX),
    (rules.size, "model/a.py", LONG_FUNCTION.removesuffix("    a = 1\n")),
    (
        rules.direction,
        "cluster/a.py",
        "from actors.clicks.click import key\nfrom training import train\n",
    ),
    (rules.direction, "actors/a.py", "from actors.clicks.click import key\nimport model_zoo\n"),
    (rules.purity, "actors/a.py", "import time\n"),
    (rules.purity, "model/a.py", "import os.path\nfrom numba import njit\n"),
    (rules.torch_free, "cluster/a.py", "def f():\n    import torch\n"),
    (rules.torch_free, "training/a.py", "import torch\n"),
    (rules.documented_tests, "tests/test_a.py", 'def test_a():\n    """a holds."""\n'),
    (rules.no_sleep, "tests/test_a.py", "await asyncio.sleep(0)\n"),
    (rules.no_sleep, "actors/a.py", "time.sleep(1)\n"),
    (rules.file_name, "actors/basement.py", ""),
    (rules.finished, "model/a.py", "hex_XXXX = 1\n"),
    (rules.bare_package, "model/__init__.py", '"""Models."""\n'),
    (rules.bare_package, "model/__init__.py", ""),
)


def sources() -> list[tuple[str, str]]:
    """Every hand-written Python file as (path from the root, text)."""
    found = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return [
        (path.relative_to(ROOT).as_posix(), path.read_text())
        for path in found
        if not path.name.endswith(("_pb2.py", "_pb2_grpc.py"))
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_repository_keeps_the_rule(rule: Rule) -> None:
    """No file breaks the rule; each violation is listed with its line."""
    files = sources()
    assert len(files) > 20
    violations = [violation for path, text in files for violation in rule(path, text)]
    assert not violations, "\n" + "\n".join(violations)


@pytest.mark.parametrize(
    ("rule", "path", "text"), BAD, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_rule_catches_what_it_forbids(rule: Rule, path: str, text: str) -> None:
    """A snippet that breaks the rule gives exactly one violation, which names the file and line."""
    (violation,) = rule(path, text)
    assert violation.startswith(f"{path}:")


@pytest.mark.parametrize(
    ("rule", "path", "text"), GOOD, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_rule_lets_the_rest_pass(rule: Rule, path: str, text: str) -> None:
    """A snippet just inside the rule gives no violation."""
    assert list(rule(path, text)) == []


def test_guides_name_targets_that_exist() -> None:
    """Every `make X` in the README, the guides and the scripts is a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    guides = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / ".ci" / "run"]
    violations = [
        violation
        for guide in guides
        for violation in rules.known_targets(
            guide.relative_to(ROOT).as_posix(), guide.read_text(), makefile
        )
    ]
    assert not violations, "\n" + "\n".join(violations)


def test_a_missing_target_is_caught() -> None:
    """A guide that names a target the Makefile lacks is reported,
    in a code span or as a command line.
    """
    guide = "Run `make demo`.\nThen `make fly` and make do.\n    make swim\n"
    violations = list(rules.known_targets("README.md", guide, "demo: x\n\tcommand\n"))
    assert [violation.split(":")[1] for violation in violations] == ["2", "3"]


def test_serving_starts_without_torch() -> None:
    """Importing all of actors/, cluster/ and what they use loads no
    torch (2 s and 200 MB a process).
    """
    modules = [
        path.removesuffix(".py").replace("/", ".")
        for path, _ in sources()
        if path.startswith(("actors/", "cluster/")) and not path.endswith("__init__.py")
    ]
    program = f"import sys\nimport {', '.join(modules)}\nsys.exit('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"torch was imported by one of {modules}\n{done.stderr}"
