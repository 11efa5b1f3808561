"""The rules of this repository's shape, each a function from one file to its violations.

A violation is one line, `path:line: what is wrong and what to do`, so that a failing test reads
like a linter.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

LINES_MAX = 400
FUNCTION_LINES_MAX = 60
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "base"}
# The one file for each library whose private parts are needed; pyproject.toml bounds its versions.
PRIVATE_PARTS = {
    "training/ray_private.py": "ray",
    "actors/calls/unread_calls.py": "grpc",
    "model/kernels/compiled.py": "numba",
    "tests/ray_nodes.py": "ray",
    "tests/cluster/lifecycle/test_ray_start.py": "ray",
    "tests/simulation/simulated/loop.py": "asyncio",
}
PUBLIC = {("os", "_exit")}  # documented, for all its underscore
# What only the composition root makes, and who else, for want of a world to take it from.
MADE_IN_WIRING: dict[str, tuple[str, ...]] = {
    "SystemClock": (),
    "KafkaLog": (),
    "KafkaSink": (),
    "KafkaLetterMarks": (),
    "KafkaAdmin": ("cluster/kafka/", "cluster/broker/"),  # a broker is looked for before
    "RealRay": (),
    "RpcServer": (),
    "Exporter": (),
    "ColdDirectory": (),
    "open_root": ("cluster/settings/checks.py",),  # whether there is such a file system
    "from_uri": ("actors/files.py", "cluster/cli/archive.py"),  # it shows files without a system
}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")

# Each folder may import itself and what stands here; tests and bench may import everything.
MAY_IMPORT: dict[str, set[str]] = {
    "model": set(),
    "monitoring": set(),
    "rpc": set(),
    "training": {"model"},
    "actors": {"model", "monitoring", "rpc"},
    "cluster": {"model", "monitoring", "rpc", "actors", "training"},
}
OURS = MAY_IMPORT.keys() | {"tests", "bench"}
IMPURE = {"ray", "kafka", "grpc", "time", "logging", "socket", "subprocess", "threading", "asyncio"}
IMPURE_ATTRIBUTES = {
    ("os", "environ"),
    ("os", "getenv"),
    ("datetime", "now"),
    ("datetime", "utcnow"),
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def size(path: str, text: str) -> Iterator[str]:
    """Files and functions short enough to be read in one go; a signature is not counted."""
    lines = text.count("\n")
    if lines > LINES_MAX:
        yield f"{path}:{lines}: {lines} lines, at most {LINES_MAX}; split it by concept"
    for function in _functions(ast.parse(text)):
        first = function.body[bool(ast.get_docstring(function)) and len(function.body) > 1]
        length = (function.end_lineno or first.lineno) - first.lineno + 1
        if length > FUNCTION_LINES_MAX:
            yield (
                f"{path}:{function.lineno}: {function.name} has {length} lines, at most "
                f"{FUNCTION_LINES_MAX}; take a part out"
            )


def direction(path: str, text: str) -> Iterator[str]:
    """Imports that point one way: model <- training, actors <- cluster."""
    folder = path.split("/", maxsplit=1)[0]
    if folder not in MAY_IMPORT:
        return
    allowed = MAY_IMPORT[folder] | {folder}
    for line, module in _imports(ast.parse(text)):
        root = module.split(".", maxsplit=1)[0]
        if root in OURS and root not in allowed:
            yield f"{path}:{line}: {folder}/ imports {module}; it may import {sorted(allowed)} only"


def purity(path: str, text: str) -> Iterator[str]:
    """A model/ without Ray, Kafka, gRPC, clock, environment, threads or logging."""
    if not path.startswith("model/"):
        return
    tree = ast.parse(text)
    for line, module in _imports(tree):
        if module.split(".", maxsplit=1)[0] in IMPURE:
            yield f"{path}:{line}: model/ imports {module}; pass in what it needs"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) in IMPURE_ATTRIBUTES:
                yield (
                    f"{path}:{node.lineno}: model/ reads {node.value.id}.{node.attr}; pass the "
                    "value in"
                )
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (
                f"{path}:{node.lineno}: model/ reads os.{name.name}; pass the value in"
                for name in node.names
                if ("os", name.name) in IMPURE_ATTRIBUTES
            )


def torch_free(path: str, text: str) -> Iterator[str]:
    """Serving without torch: nowhere in the kernels, bundles and actors,
    only inside functions in cluster/ (train and demo).
    """
    never = path.startswith(("actors/", "model/kernels/", "model/bundle/"))
    if not (never or path.startswith("cluster/")):
        return
    tree = ast.parse(text)
    lazy = {id(node) for function in _functions(tree) for node in ast.walk(function)}
    for node in ast.walk(tree):
        for line, module in _imported(node):
            root = module.split(".", maxsplit=1)[0]
            brings = root == "torch" or module.startswith("model.network")
            if brings and (never or id(node) not in lazy):
                yield f"{path}:{line}: {module} brings torch, 2 s and 200 MB in every process"


def own_files(path: str, text: str) -> Iterator[str]:
    """A product that reads no file of its benchmarks and tests: a wheel has neither."""
    if path.split("/", maxsplit=1)[0] not in MAY_IMPORT:
        return
    tree = ast.parse(text)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = re.search(r"\b(bench|tests)(?:/\w|$)", node.value)
            if found and id(node) not in docstrings:
                yield f"{path}:{node.lineno}: names a file of {found[1]}/, which is not installed"


def assignments(path: str, text: str) -> Iterator[str]:
    """One assignment a line; what exchanges values, or takes a result apart, is one."""
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)):
            continue
        target = node.targets[0]
        if not (isinstance(target, ast.Tuple) and len(target.elts) == len(node.value.elts)):
            continue
        names = {ast.unparse(each) for each in target.elts}
        read = {ast.unparse(each) for each in ast.walk(node.value) if isinstance(each, ast.expr)}
        if not names & read:
            yield f"{path}:{node.lineno}: {len(names)} assignments; give each a line of its own"


def private_parts(path: str, text: str) -> Iterator[str]:
    """Libraries used as they offer themselves: no private module, name, attribute or keyword."""
    tree = ast.parse(text)
    library_of: dict[str, str] = {}  # by the name that it, or a part of it, has in this file
    used: list[tuple[int, str, str]] = []
    for node in ast.walk(tree):
        for line, whole, name in _imported_names(node):
            library = whole.partition(".")[0]
            library_of[name] = library
            used += [(line, library, part) for part in whole.split(".")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            used.append((node.lineno, library_of.get(_root(node), ""), node.attr))
        elif isinstance(node, ast.Call):
            library = library_of.get(_root(node), "")
            used += [(node.lineno, library, each.arg or "") for each in node.keywords]
    for line, library, name in used:
        private = name.startswith("_") and not name.endswith("__")
        allowed = {"", *OURS, PRIVATE_PARTS.get(path)}
        if private and library not in allowed and (library, name) not in PUBLIC:
            yield f"{path}:{line}: {name} is private to {library}; use what it offers to all"


def one_root(path: str, text: str) -> Iterator[str]:
    """Clients, clocks and file systems made by the composition root alone; a parameter may have the
    name of what makes one.
    """
    if not path.startswith(("actors/", "cluster/")) or path.startswith("cluster/wiring/"):
        return
    tree = ast.parse(text)
    given = {
        id(node)
        for function in _functions(tree)
        for name in (each.arg for each in ast.walk(function.args) if isinstance(each, ast.arg))
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and node.id == name
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or id(node.func) in given:
            continue
        made = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        if made in MADE_IN_WIRING and not path.startswith(MADE_IN_WIRING[made]):
            yield f"{path}:{node.lineno}: {made} is called here; take it from cluster/wiring"


def documented_tests(path: str, text: str) -> Iterator[str]:
    """A docstring on every test, saying what must hold."""
    if not path.startswith("tests/"):
        return
    for function in _functions(ast.parse(text)):
        if function.name.startswith("test_") and not ast.get_docstring(function):
            yield (
                f"{path}:{function.lineno}: {function.name} has no docstring; say in a sentence "
                "what must hold"
            )


def no_sleep(path: str, text: str) -> Iterator[str]:
    """Tests that await a condition with a deadline; `sleep(0)`, which only yields, is fine."""
    if not path.startswith("tests/") or path == "tests/waiting.py":
        return
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        yields = (
            len(node.args) == 1
            and isinstance(node.args[0], ast.Constant)
            and node.args[0].value == 0
        )
        if name == "sleep" and not yields:
            yield f"{path}:{node.lineno}: sleep in a test; await the condition with a deadline"


def file_name(path: str, text: str) -> Iterator[str]:
    """File names that say what is inside."""
    del text
    stem = path.rsplit("/", maxsplit=1)[-1].removesuffix(".py")
    if stem.removeprefix("test_") in BANNED_NAMES:
        yield f"{path}:1: the name says nothing of what is inside; name the concept"


def finished(path: str, text: str) -> Iterator[str]:
    """Work that is done: no words that promise to finish it later."""
    if path.startswith("tests/"):
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if found := UNFINISHED.search(line):
            yield f"{path}:{number}: {found[0]}; finish it or open an issue"


def borrowed(path: str, text: str) -> Iterator[str]:
    """What several tests need in a file of its own, which says what it holds."""
    for line, module in _imports(ast.parse(text)):
        name = module.rpartition(".")[2]
        if module.startswith("tests.") and name.startswith("test_"):
            yield f"{path}:{line}: imports {module}; move what both need into a file of its own"


def bare_package(path: str, text: str) -> Iterator[str]:
    """Package files that are empty or one docstring."""
    if not path.endswith("__init__.py"):
        return
    body = ast.parse(text).body
    only_docstring = len(body) == 1 and ast.get_docstring(ast.parse(text)) is not None
    if body and not only_docstring:
        yield (
            f"{path}:{body[0].lineno}: more than a docstring; import from the module that "
            "defines a name"
        )


def _functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        yield from _imported(node)


def _imported(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Import):
        yield from ((node.lineno, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.lineno, node.module


def _imported_names(node: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Line, dotted name of what is imported, and the name that it binds."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield node.lineno, alias.name, alias.asname or alias.name.partition(".")[0]
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        for alias in node.names:
            yield node.lineno, f"{node.module}.{alias.name}", alias.asname or alias.name


def _root(node: ast.AST) -> str:
    """The name that a chain of attributes and calls begins with."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
