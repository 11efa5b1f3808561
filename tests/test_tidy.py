"""The repository keeps its own rules, and each rule catches what it is there to catch."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import tidy_graph as graph
from tests import tidy_rules as rules

ROOT = Path(__file__).parent.parent
FOLDERS = ("model", "actors", "cluster", "training", "monitoring", "bench", "tests", "rpc")
Rule = Callable[[str, str], Iterator[str]]

RULES: tuple[Rule, ...] = (
    rules.size,
    rules.direction,
    rules.purity,
    rules.torch_free,
    rules.own_files,
    rules.assignments,
    rules.private_parts,
    rules.one_root,
    rules.documented_tests,
    rules.no_sleep,
    rules.file_name,
    rules.finished,
    rules.bare_package,
    rules.borrowed,
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
    (rules.torch_free, "model/kernels/a.py", "import torch\n"),
    (rules.torch_free, "model/bundle/a.py", "def f():\n    from model.network import ssm\n"),
    (rules.own_files, "training/a.py", 'PATH = "bench/results/accuracy.json"\n'),
    (rules.own_files, "training/a.py", 'PATH = ROOT / "bench" / "results"\n'),
    (rules.own_files, "cluster/a.py", 'def f():\n    open(f"{root}/tests/a.json")\n'),
    (rules.assignments, "model/a.py", "a, b = 1, 2\n"),
    (rules.assignments, "tests/a.py", "def f():\n    self.a, self.b = a, b\n"),
    (rules.private_parts, "actors/a.py", "from grpc_health.v1._async import HealthServicer\n"),
    (rules.private_parts, "cluster/a.py", "def f():\n    import ray._raylet\n"),
    (rules.private_parts, "cluster/a.py", "from ray import serve as s\ns.api._client.stop()\n"),
    (
        rules.private_parts,
        "model/a.py",
        "from numba import njit\nf = njit(cache=True, _nrt=False)\n",
    ),
    (rules.private_parts, "training/ray_private.py", "import torch\ntorch._foreach_lerp_(a, b)\n"),
    (rules.one_root, "actors/a.py", "def f(clock=SystemClock()):\n    pass\n"),
    (rules.one_root, "cluster/a.py", "def f(access):\n    return log.KafkaLog(access)\n"),
    (rules.one_root, "cluster/cli/a.py", "files = ArchiveFiles.from_uri('out')\n"),
    (rules.one_root, "cluster/kafka/a.py", "def f(root):\n    return open_root(root)\n"),
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
    (rules.borrowed, "tests/test_a.py", "from tests.actors.test_b import Rig\n"),
    (rules.borrowed, "bench/a.py", "import tests.actors.test_b\n"),
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
    (rules.own_files, "bench/a.py", 'PATH = "bench/results/accuracy.json"\n'),
    (rules.own_files, "training/a.py", '"""Shown by bench/accuracy/rows.py."""\n'),
    (rules.assignments, "model/a.py", "a, b = b, a\na, b = pair\na, *b = 1, 2, 3\n"),
    (rules.private_parts, "training/ray_private.py", "import ray\ncore = ray._raylet\n"),
    (rules.private_parts, "model/a.py", "from model.a import b as _b\nc = b._d + b.__doc__\n"),
    (rules.private_parts, "model/a.py", "import os\nos._exit(1)\nself._a._b(_c=1)\n"),
    (rules.one_root, "cluster/wiring/a.py", "clock = SystemClock()\n"),
    (rules.one_root, "cluster/kafka/a.py", "with KafkaAdmin(access) as admin:\n    pass\n"),
    (
        rules.one_root,
        "actors/a.py",
        "def f(root, open_root=open_root):\n    return open_root(root)\n",
    ),
    (rules.documented_tests, "tests/test_a.py", 'def test_a():\n    """a holds."""\n'),
    (rules.no_sleep, "tests/test_a.py", "await asyncio.sleep(0)\n"),
    (rules.no_sleep, "actors/a.py", "time.sleep(1)\n"),
    (rules.file_name, "actors/basement.py", ""),
    (rules.finished, "model/a.py", "hex_XXXX = 1\n"),
    (rules.borrowed, "tests/test_a.py", "from tests.actors.rig import Rig\n"),
    (rules.bare_package, "model/__init__.py", '"""Models."""\n'),
    (rules.bare_package, "model/__init__.py", ""),
)


Whole = Callable[[graph.Files], Iterator[str]]
WHOLE: tuple[Whole, ...] = (
    graph.crowded,
    graph.namesakes,
    graph.file_circles,
    graph.folder_circles,
    graph.floors,
)
BAD_WHOLE: tuple[tuple[Whole, graph.Files], ...] = (
    (graph.crowded, {f"actors/state/a{n}.py": "" for n in range(graph.MODULES_MAX + 1)}),
    (graph.namesakes, {"tests/a/test_x.py": "", "tests/b/test_x.py": ""}),
    (graph.file_circles, {"a/b.py": "from a import c\n", "a/c.py": "import a.b\n"}),
    (
        graph.file_circles,
        {
            "a/b.py": "def f():\n    from a.c import x\n",
            "a/c.py": "if TYPE_CHECKING:\n    from a.d import y\n",
            "a/d.py": "from a.b import f\n",
        },
    ),
    (
        graph.folder_circles,
        {"a/b/x.py": "from a.c import y\n", "a/c/y.py": "", "a/c/z.py": "from a.b.x import v\n"},
    ),
    (
        graph.folder_circles,
        {"a/b.py": "from a.c import y\n", "a/c/y.py": "", "a/c/z.py": "from a.b import v\n"},
    ),
    (
        graph.floors,
        {"actors/clicks/a.py": "from actors.state.b import c\n", "actors/state/b.py": "c = 1\n"},
    ),
    (
        graph.floors,
        {"model/errors.py": "from model.bundle import b\n", "model/bundle/b.py": ""},
    ),
)
GOOD_WHOLE: tuple[tuple[Whole, graph.Files], ...] = (
    (graph.crowded, {f"actors/state/a{n}.py": "" for n in range(graph.MODULES_MAX)}),
    (graph.namesakes, {"tests/a/test_x.py": "", "tests/a/x.py": "", "tests/b/x.py": ""}),
    (graph.file_circles, {"a/b.py": "from a import c\n", "a/c.py": "import a.d\n", "a/d.py": ""}),
    (
        graph.folder_circles,
        {"a/b.py": "", "a/c/y.py": "import a.b\n", "a/d.py": "import a.c.y\n"},
    ),
    (
        graph.floors,
        {"actors/state/a.py": "from actors.clicks.b import c\n", "actors/clicks/b.py": "c = 1\n"},
    ),
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


@pytest.mark.parametrize("rule", WHOLE, ids=lambda rule: rule.__name__)
def test_the_repository_as_a_whole_keeps_the_rule(rule: Whole) -> None:
    """No folder and no import breaks the rule."""
    violations = list(rule(dict(sources())))
    assert not violations, "\n" + "\n".join(violations)


@pytest.mark.parametrize(("rule", "files"), BAD_WHOLE)
def test_a_rule_of_the_whole_catches_what_it_forbids(rule: Whole, files: graph.Files) -> None:
    """Files that break the rule together give exactly one violation."""
    assert len(list(rule(files))) == 1


@pytest.mark.parametrize(("rule", "files"), GOOD_WHOLE)
def test_a_rule_of_the_whole_lets_the_rest_pass(rule: Whole, files: graph.Files) -> None:
    """Files just inside the rule give no violation."""
    assert list(rule(files)) == []


def test_every_floor_is_a_place() -> None:
    """FLOORS names files and folders that are there, and every room of its packages."""
    files = dict(sources())
    rooms = {path.rpartition("/")[0] for path in files}
    for package, floors in graph.FLOORS.items():
        assert set(floors) <= files.keys() | rooms, package


def test_releases_are_bounded_where_private_parts_are_used() -> None:
    """A library whose private parts the product needs has a range up to the next release:
    they may change with any.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = {re.split(r"[^\w-]", each)[0]: each for each in project["dependencies"]}
    for path, library in rules.PRIVATE_PARTS.items():
        if not path.startswith("tests/"):
            wanted = ranges["grpcio" if library == "grpc" else library]
            assert re.search(r">=[\d.]+,<\d+\.\d+$", wanted), wanted


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
