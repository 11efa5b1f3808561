"""YAML as settings are written in it: keys are texts, none stands twice,
and a text is never read as something else.

Errors name line and column and quote nothing: what stands there may be a secret.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cluster.settings.docs import SECRETS, allowed, is_list, may_be_null, section_of, takes_text

TAG = "tag:yaml.org,2002:"
TEXT = f"{TAG}str"
NULL = f"{TAG}null"
MERGE = f"{TAG}merge"
KINDS = {
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "timestamp": "a date",
    "null": "nothing",
}
# YAML 1.1 reads 0123 in base 8 and 1:30 in base 60.
ODD_NUMBER = re.compile(r"[-+]?(0[0-7_]+|[0-9_]+(:[0-9_.]+)+)")
QUOTED = re.compile(r"(['\"])(?!(?:\\.|.)\1).*\1")  # more than one character in quotes


# What PyYAML raises, also for a tag that does not fit its value: !!bool x, !!timestamp x.
UNREADABLE = yaml.YAMLError, ValueError, RecursionError, KeyError, AttributeError, TypeError


class NotYaml(ValueError):
    """What is wrong, and where; without the text itself."""


class _Loader(yaml.SafeLoader):
    """The safe loader, with keys as they are written;
    the plain one drops the first of two equal keys in silence.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.tag != MERGE:
                key.tag = TEXT
            if (key.tag, key.value) in seen:
                raise NotYaml(
                    f"{key.value!r} stands twice, the second time in {_place(key.start_mark)}; "
                    "delete one"
                )
            seen.add((key.tag, key.value))
        return node


def read(
    text: str, model: type[BaseModel], path: str, problems: list[str], *, listed: bool = False
) -> Any:
    """The value of a YAML text that holds the section `model`,
    or a list of such sections, which stands at `path`.

    A line for each setting that YAML reads as something else than is written goes to `problems`.

    Raises:
        NotYaml: it cannot be read.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _Reader(loader, problems).section(node, model, path, listed=listed)
        return loader.construct_document(node)
    except NotYaml:
        raise
    except UNREADABLE as error:
        raise NotYaml(_without_text(error)) from None


class _Reader:
    """Walks the settings of a document;
    settings that YAML would read as something else become text.
    """

    def __init__(self, loader: _Loader, problems: list[str]) -> None:
        self._loader = loader
        self._problems = problems

    def section(self, node: yaml.Node, model: type[BaseModel], path: str, *, listed: bool) -> None:
        """Look at a section, or at each section of a list."""
        if listed and isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                self.section(item, model, f"{path}[{number}]", listed=False)
        if not isinstance(node, yaml.MappingNode):
            return
        self._loader.flatten_mapping(node)
        for name, value in _by_name(node).items():
            if (field := model.model_fields.get(name)) is None:
                continue
            place = f"{path}.{name}".lstrip(".")
            if inner := section_of(field):
                self.section(value, inner, place, listed=is_list(field))
            elif isinstance(value, yaml.ScalarNode):
                self._setting(value, field, place)

    def _setting(self, node: yaml.ScalarNode, field: FieldInfo, path: str) -> None:
        """Keep a text a text; a number in another base than is meant is a problem."""
        if not takes_text(field):
            if node.style is None and node.tag != TEXT and ODD_NUMBER.fullmatch(node.value):
                self._problems.append(
                    f"  {path}: {node.value} is not allowed; expected {allowed(field)}, in base 10"
                )
            return
        if node.tag == TEXT:
            return
        if node.tag == NULL and may_be_null(field) and (node.value or path not in SECRETS):
            return
        self._problems.append(f"  {path}: {_misread(node, path)}")
        node.tag = TEXT if node.value else NULL


def _by_name(node: yaml.MappingNode) -> dict[str, yaml.Node]:
    """The values, of two of one name the last,
    which is the mapping's own where the other was merged.
    """
    return {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}


def _misread(node: yaml.ScalarNode, path: str) -> str:
    if not node.value:
        return "has no value; write null for none, and put a text that begins with # or & in quotes"
    kind = KINDS.get(node.tag.removeprefix(TAG), "something else than text")
    if path in SECRETS:
        return f"YAML reads it as {kind}; put it in quotes"
    return f"YAML reads {node.value} as {kind}; put it in quotes: '{node.value}'"


def _without_text(error: Exception) -> str:
    """What the error says, without what it quotes."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if not isinstance(error, yaml.YAMLError):
        return "a number, a date or a tag in it cannot be read"
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
    start = getattr(error, "context_mark", None)
    mark = getattr(error, "problem_mark", None)
    place = f" in {_place(mark)}" if mark else ""
    place += (
        f", in what begins in {_place(start)}" if start and mark and start.line != mark.line else ""
    )
    return (
        f"{QUOTED.sub('...', ' '.join(str(said).split()))}{place}; put texts with signs such "
        f"as @ ! * % {{ in quotes"
    )


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"
