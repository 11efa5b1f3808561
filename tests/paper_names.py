"""The rules of the papers: what a page names is there, under that name.

A rule takes a page (its path, its text) and what is known of the project, and yields violations as
`path:line: what is wrong`, as `tidy_rules` does. Code in backticks and fenced `sh`, `python` and
`yaml` blocks are looked at; prose and drawings are not.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import yaml

LINES_MAX = {"README.md": 120, "ARCHITECTURE.md": 250}
PACKAGES = ("actors", "bench", "cluster", "model", "monitoring", "rpc", "tests", "training")
FOLDERS = (*PACKAGES, "docs", "proto")
ENDINGS = ("csv", "html", "json", "md", "parquet", "proto", "pt", "py", "txt", "yaml")
FOREIGN = {"too_many_pings"}  # words of others: gRPC
OF_A_HISTOGRAM = ("_bucket", "_count", "_sum")
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
IN_FOLDER = re.compile(rf"(?<![\w./-])((?:{'|'.join(FOLDERS)})/[\w./*-]*)(?:::(\w+))?")
BARE_FILE = re.compile(r"([\w-]+\.(?:py|md|proto))(?:::(\w+))?")
DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.\w+)+")
WORD = re.compile(r"[a-z]+_\w+|[A-Z]\w*[a-z]\w*[A-Z]\w*")


@dataclass(frozen=True, kw_only=True)
class Known:
    """What there is to name."""

    files: frozenset[str]  # from the root
    defined: Mapping[str, frozenset[str]]  # Python file -> `f`, `Class`, `Class.member`, `CONSTANT`
    words: frozenset[str]  # every identifier of code, protocols, settings and rules
    anchors: Mapping[str, frozenset[str]]  # page -> the anchors of its headings
    targets: frozenset[str]  # of the Makefile
    settings: frozenset[str]  # dotted, `arms[].name`
    metrics: frozenset[str]  # with `echorank_`
    commands: Mapping[str, frozenset[str]]  # `archive ls` -> its options

    def is_place(self, path: str) -> bool:
        """True for a file, a folder, or a pattern that some file or folder matches."""
        wanted = path.rstrip("/")
        return wanted in self.files or any(
            fnmatch.fnmatchcase(file, wanted) or file.startswith(f"{wanted}/")
            for file in self.files
        )

    def is_setting(self, path: str) -> bool:
        """True for a setting, or a section of settings."""
        return path in self.settings or any(
            each.startswith((f"{path}.", f"{path}[].")) for each in self.settings
        )


class Code(NamedTuple):
    """A piece of code on a page."""

    line: int
    language: str  # of its fence; `span` between backticks
    text: str


def code(text: str) -> Iterator[Code]:
    """All code of a page, in its order."""
    found = [
        Code(_line(text, m.start(2)), m[1], m[2]) for m in FENCE.finditer(text) if m[1] != "ini"
    ]
    prose = FENCE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)
    found += [Code(_line(text, m.start()), "span", " ".join(m[1].split())) for m in _spans(prose)]
    return iter(sorted(found, key=lambda piece: piece.line))


def length(path: str, text: str, known: Known) -> Iterator[str]:
    """Pages that are read in one go stay short."""
    del known
    lines = text.count("\n")
    if lines > LINES_MAX.get(path, lines):
        yield f"{path}:{lines}: {lines} lines, at most {LINES_MAX[path]}; move some to docs/"


def links(path: str, text: str, known: Known) -> Iterator[str]:
    """Relative links lead to a file and, if they name one, to a heading of it."""
    for match in re.finditer(r"\]\(([^)\s]+)\)", text):
        if match[1].startswith(("http://", "https://")):
            continue
        target, _, anchor = match[1].partition("#")
        file = posixpath.normpath(posixpath.join(posixpath.dirname(path), target or path))
        file = file if target else path
        if not known.is_place(file):
            yield f"{path}:{_line(text, match.start())}: {match[1]} leads nowhere"
        elif anchor and anchor not in known.anchors.get(file, ()):
            yield f"{path}:{_line(text, match.start())}: {file} has no heading for #{anchor}"


def paths(path: str, text: str, known: Known) -> Iterator[str]:
    """Files, folders and patterns below the folders of the project, and bare names of files."""
    names = {posixpath.basename(file) for file in known.files}
    for piece in code(text):
        if piece.language not in {"span", "sh"}:
            continue
        for match in IN_FOLDER.finditer(piece.text):
            if "__pycache__" not in match[1] and not known.is_place(match[1].rstrip(".")):
                yield f"{path}:{piece.line}: there is no {match[1]}"
        bare = BARE_FILE.fullmatch(piece.text)
        if bare and bare[1] not in names:
            yield f"{path}:{piece.line}: no file is called {bare[1]}"


def tests(path: str, text: str, known: Known) -> Iterator[str]:
    """`file::test`; `::test` is in the file that was named last."""
    last = ""
    for piece in code(text):
        match = re.fullmatch(r"([\w./-]+\.py)?(?:::(\w+))?", piece.text)
        if not match or not piece.text:
            continue
        last = match[1] or last
        files = [file for file in known.defined if f"/{file}".endswith(f"/{last}")]
        if match[2] and not any(match[2] in known.defined[file] for file in files):
            yield f"{path}:{piece.line}: {last or 'no file'} has no {match[2]}"


def symbols(path: str, text: str, known: Known) -> Iterator[str]:
    """`Symbol` (`path`) defines it, `package.module.symbol` and `Class.member` are defined."""
    for match in re.finditer(r"`([A-Za-z_][\w.]*)`\s*\(`([\w/]+\.py)`", text):
        if match[1] not in known.defined.get(match[2], {match[1]}):
            yield f"{path}:{_line(text, match.start())}: {match[2]} defines no {match[1]}"
    members = frozenset[str]().union(*known.defined.values())
    for piece in code(text):
        for name in _dotted(piece):
            first = name.partition(".")[0]
            if first in PACKAGES and not (known.is_setting(name) or _resolves(name, known)):
                yield f"{path}:{piece.line}: {name} is no module and nothing in one"
            if first in members and first[0].isupper() and name not in members:
                yield f"{path}:{piece.line}: {first} has no {name.partition('.')[2]}"


def words(path: str, text: str, known: Known) -> Iterator[str]:
    """A name alone (`some_name`, `SomeName`) is one that the sources have."""
    for piece in code(text):
        name = re.sub(r"[({=:].*", "", piece.text)
        if piece.language != "span" or not WORD.fullmatch(name):
            continue
        if not {name, f"echorank_{name}"} & (known.words | known.metrics | FOREIGN):
            yield f"{path}:{piece.line}: {name} is nowhere in the sources"


def targets(path: str, text: str, known: Known) -> Iterator[str]:
    """`make X` is a target of the Makefile."""
    for piece in code(text):
        for line in _lines(piece):
            for target in re.findall(r"(?:^|[\s;&])make ([a-z][a-z0-9-]*)", line.text):
                if target not in known.targets:
                    yield f"{path}:{line.line}: `make {target}` is not in the Makefile"


def settings(path: str, text: str, known: Known) -> Iterator[str]:
    """`section.key`, `ECHORANK__SECTION__KEY`, and YAML that is made of sections."""
    sections = {each.partition(".")[0].removesuffix("[]") for each in known.settings}
    for piece in code(text):
        for name in re.findall(r"\bECHORANK__(\w+)", piece.text):
            setting = name.lower().replace("__", ".")
            if name != "SECTION__KEY" and not known.is_setting(setting):
                yield f"{path}:{piece.line}: ECHORANK__{name} sets nothing: no {setting}"
        if piece.language == "yaml":
            found = yaml.safe_load(piece.text)
            names = list(_keys(found)) if isinstance(found, dict) else []
        elif piece.language == "span":
            match = re.match(r"[a-z]+(?:\[\])?(?:\.[a-z_]+)+", piece.text)
            after = piece.text[match.end() :] if match else ""
            names = [match[0]] if match and re.match(r"($|[:/ ])", after) else []
        else:
            continue
        for name in names:
            first = name.partition(".")[0].removesuffix("[]")
            if first in sections and not (known.is_setting(name) or _resolves(name, known)):
                yield f"{path}:{piece.line}: there is no setting {name}"


def environment(path: str, text: str, known: Known) -> Iterator[str]:
    """Other variables of the environment are read somewhere."""
    for piece in code(text):
        for name in re.findall(r"\b(?:ECHORANK|KAFKA|RAY)_[A-Za-z]\w+", piece.text):
            if name not in known.words:
                yield f"{path}:{piece.line}: nothing reads {name}"


def metrics(path: str, text: str, known: Known) -> Iterator[str]:
    """`echorank_name`, and a name with labels, are metrics."""
    for piece in code(text):
        if piece.language == "python":
            continue
        names = re.findall(r"\b(echorank_[a-z_]+)", piece.text)
        if piece.language == "span" and (match := re.match(r"([a-z_]+)\{[a-z_]+[=}]", piece.text)):
            names += [f"echorank_{match[1].removeprefix('echorank_')}"]
        for name in names:
            base = next((name.removesuffix(s) for s in OF_A_HISTOGRAM if name.endswith(s)), name)
            if not {name, base} & known.metrics and name not in known.words:
                yield f"{path}:{piece.line}: there is no metric {name}"


def commands(path: str, text: str, known: Known) -> Iterator[str]:
    """`echorank command --option` and `python -m module` can be called so."""
    for piece in code(text):
        for line in _lines(piece):
            for match in re.finditer(
                r"(?:^|[\s/;])echorank ([a-z][\w-]*(?: [a-z][\w-]*)?)([^;|&#]*)", line.text
            ):
                yield from (f"{path}:{line.line}: {wrong}" for wrong in _called(match, known))
            for module in re.findall(r"python3? -m ([\w.]+)", line.text):
                file = module.replace(".", "/")
                known_ones = {f"{file}.py", f"{file}/__main__.py"}
                if module.partition(".")[0] in PACKAGES and not known_ones & known.files:
                    yield f"{path}:{line.line}: {module} is no module to run"


def shapes(path: str, text: str, letters: set[str]) -> Iterator[str]:
    """Shapes in comments (`# (B, L, D)`) are of letters that the glossary has."""
    for match in re.finditer(r"# \(([A-Z](?:, [^()]*)?)\)", text):
        if strange := set(re.findall(r"\b[A-Z]\b", match[1])) - letters:
            yield f"{path}:{_line(text, match.start())}: {sorted(strange)} not in docs/glossary.md"


def _called(match: re.Match[str], known: Known) -> Iterator[str]:
    said = match[1].split()
    name = next((each for each in (" ".join(said[:2]), said[0]) if each in known.commands), None)
    if name is None:
        yield f"echorank has no command {said[0]}"
        return
    for option in re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", f"{' '.join(said)} {match[2]}"):
        if option not in known.commands[name]:
            yield f"echorank {name} has no {option}"


def _resolves(name: str, known: Known) -> bool:
    """True for a package, a module, or what a module defines."""
    parts = name.split(".")
    for size in range(len(parts), 0, -1):
        file = "/".join(parts[:size])
        if f"{file}.py" in known.files:
            rest = ".".join(parts[size:])
            return not rest or rest in known.defined[f"{file}.py"]
    return known.is_place("/".join(parts))


def _dotted(piece: Code) -> Iterator[str]:
    if piece.language == "span" and (match := DOTTED.match(piece.text)):
        if match[0].rpartition(".")[2] not in ENDINGS:
            yield match[0]
    elif piece.language == "python":
        for module, names in re.findall(r"^from ([\w.]+) import ([\w, ]+)", piece.text, re.M):
            if module.partition(".")[0] in PACKAGES:
                yield from (f"{module}.{each.split()[0]}" for each in names.split(","))


def _keys(tree: object, prefix: str = "") -> Iterator[str]:
    """The dotted paths of all plain values of a YAML tree."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _keys(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(tree, list) and any(isinstance(each, dict) for each in tree):
        for each in tree:
            yield from _keys(each, f"{prefix}[]")
    else:
        yield prefix


def _lines(piece: Code) -> Iterator[Code]:
    if piece.language in {"span", "sh", ""}:
        for number, line in enumerate(piece.text.splitlines()):
            yield Code(piece.line + number, piece.language, line)


def _spans(prose: str) -> Iterator[re.Match[str]]:
    """Spans, which end with their paragraph: an odd backtick spoils no other."""
    start = 0
    for paragraph in re.split(r"(\n\s*\n)", prose):
        yield from SPAN.finditer(prose, start, start + len(paragraph))
        start += len(paragraph)


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
