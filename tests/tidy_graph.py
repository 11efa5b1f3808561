"""The rules of how the files of this repository hang together: each from all files to violations.

A file of a folder without subfolders stands for its folder. A file beside subfolders stands for
itself: `actors/errors.py` lies below the rooms of `actors/`, `training/commands.py` above them.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

MODULES_MAX = 15

# Each room may import what stands before it, and its own files.
FLOORS: dict[str, tuple[str, ...]] = {
    "model": (
        "model/errors.py",
        "model/arrays.py",
        "model/config.py",
        "model/state.py",
        "model/params.py",
        "model/levels.py",
        "model/order.py",
        "model/popularity.py",
        "model/credentials.py",
        "model/kernels",
        "model/bundle",
        "model/network",
    ),
    "actors": (
        "actors/errors.py",
        "actors/clock.py",
        "actors/backoff.py",
        "actors/files.py",
        "actors/locks.py",
        "actors/clicks",
        "actors/ingest",
        "actors/state",
        "actors/snapshots",
        "actors/shard",
        "actors/archive",
        "actors/calls",
        "actors/serve",
    ),
    "cluster": (
        "cluster/names.py",
        "cluster/scrape.py",
        "cluster/kafka",
        "cluster/broker",
        "cluster/coordinator",
        "cluster/settings",
        "cluster/processes",
        "cluster/lifecycle",
        "cluster/operate",
        "cluster/operate/replay",
        "cluster/wiring",
        "cluster/demo",
        "cluster/cli",
    ),
    "training": (
        "training/errors.py",
        "training/data",
        "training/workers.py",
        "training/row_adam.py",
        "training/measure",
        "training/rules",
        "training/fit",
    ),
}

Files = Mapping[str, str]  # path from the root -> text
Edge = tuple[str, int, str]  # the file that imports, the line, the file that is imported


def crowded(files: Files) -> Iterator[str]:
    """Folders that can be taken in at a glance."""
    counts = Counter(_folder(path) for path in files if not path.endswith("__init__.py"))
    for folder, count in sorted(counts.items()):
        if count > MODULES_MAX:
            yield f"{folder}/: {count} modules, at most {MODULES_MAX}; sort them into folders"


def namesakes(files: Files) -> Iterator[str]:
    """Test files that pytest, which imports them by their base names, can tell apart."""
    first: dict[str, str] = {}
    for path in sorted(path for path in files if path.startswith("tests/")):
        name = path.rpartition("/")[2]
        if name.startswith("test_") and first.setdefault(name, path) != path:
            yield f"{path}: has the name of {first[name]}; pytest takes only one of them"


def file_circles(files: Files) -> Iterator[str]:
    """No two files that need each other, also for types or by way of others."""
    yield from _circles((source, target) for source, _, target in _edges(files))


def folder_circles(files: Files) -> Iterator[str]:
    """No two rooms that need each other."""
    room = _rooms(files)
    yield from _circles((room[source], room[target]) for source, _, target in _edges(files))


def floors(files: Files) -> Iterator[str]:
    """Imports that run down: see FLOORS; what it does not name stands above all that it does."""
    for source, line, target in _edges(files):
        rooms = FLOORS.get(_package(source), ())
        if _package(source) == _package(target) and _height(source, rooms) < _height(target, rooms):
            yield f"{source}:{line}: imports {target}, which stands above it; see FLOORS"


def _height(path: str, rooms: Sequence[str]) -> int:
    while path and path not in rooms:
        path = _folder(path)
    return rooms.index(path) if path else len(rooms)


def _edges(files: Files) -> list[Edge]:
    paths = {path.removesuffix(".py").replace("/", "."): path for path in files}
    found = []
    for source, text in files.items():
        for node in ast.walk(ast.parse(text)):
            names = _names(node)
            line = getattr(node, "lineno", 0)
            targets = {paths[name] for name in names if name in paths}
            found += [(source, line, target) for target in targets if target != source]
    return found


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _rooms(files: Files) -> dict[str, str]:
    folders = {_folder(path) for path in files}
    split = {_folder(folder) for folder in folders}
    return {path: path if _folder(path) in split else _folder(path) for path in files}


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _package(path: str) -> str:
    return path.partition("/")[0]


def _circles(edges: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The strongly connected components of more than one node (Tarjan 1972)."""
    graph: dict[str, set[str]] = defaultdict(set)
    for source, target in edges:
        if source != target:
            graph[source].add(target)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(node: str) -> Iterator[str]:
        index[node] = len(index)
        low[node] = index[node]
        stack.append(node)
        for target in sorted(graph[node]):
            if target not in index:
                yield from visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            circle = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(circle) > 1:
                yield f"{sorted(circle)[0]}: stands in a circle of imports: {sorted(circle)}"

    for node in sorted(graph):
        if node not in index:
            yield from visit(node)
