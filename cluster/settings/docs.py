"""The settings described: their paths, what each allows,
and the commented YAML file of all of them.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import annotated_types
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from model.credentials import shown

if TYPE_CHECKING:
    from rich.table import Table

PREFIX = "ECHORANK__"
SECRETS = frozenset({"kafka.sasl_password", "serving.admin_token"})
WORDS = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}


def settings_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting as (dotted path, field), in file order;
    those of a list item as `arms[].name`.
    """
    for name, field in model.model_fields.items():
        if section := section_of(field):
            yield from settings_of(section, f"{prefix}{name}{'[]' if is_list(field) else ''}.")
        else:
            yield f"{prefix}{name}", field


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model behind a section or a list of sections; None for a plain setting."""
    kind: Any = get_args(field.annotation)[0] if is_list(field) else field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def is_list(field: FieldInfo) -> bool:
    """True if the setting holds any number of sections."""
    return get_origin(field.annotation) is tuple


def takes_text(field: FieldInfo) -> bool:
    """True if the setting is text, free or one of a few words."""
    return all(
        kind in {str, type(None)} or get_origin(kind) is Literal for kind in _alternatives(field)
    )


def may_be_null(field: FieldInfo) -> bool:
    """True if null is one of the setting's values."""
    return type(None) in _alternatives(field)


def allowed(field: FieldInfo) -> str:
    """What a setting may be, in words: `a whole number from 1 to 65535`, `ms, s or iso8601`."""
    kinds = _alternatives(field)
    words = [_words(kind) for kind in kinds if kind is not type(None)]
    text = " or ".join(words) + _bounds(field)
    if any(isinstance(mark, annotated_types.MinLen) for mark in field.metadata):
        text = f"{text}, not empty"
    return f"{text}, or null" if type(None) in kinds else text


def _alternatives(field: FieldInfo) -> tuple[Any, ...]:
    """The members of a union, without their annotations."""
    kind: Any = field.annotation
    members = get_args(kind) if get_origin(kind) in {Union, types.UnionType} else (kind,)
    return tuple(
        get_args(member)[0] if hasattr(member, "__metadata__") else member for member in members
    )


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        *first, last = [str(value) for value in get_args(kind)]
        return f"{', '.join(first)} or {last}"
    if get_origin(kind) is list:
        return "a list of texts"
    if get_origin(kind) is dict:
        return "a mapping of texts to texts"
    return WORDS[kind]


def _bounds(field: FieldInfo) -> str:
    """The numeric bounds of a setting, read from its own annotations and those inside a union."""
    marks = list(field.metadata)
    for member in get_args(field.annotation):
        for mark in getattr(member, "__metadata__", ()):
            marks.extend(mark.metadata if isinstance(mark, FieldInfo) else [mark])
    low = next((m.ge for m in marks if isinstance(m, annotated_types.Ge)), None)
    high = next((m.le for m in marks if isinstance(m, annotated_types.Le)), None)
    above = next((m.gt for m in marks if isinstance(m, annotated_types.Gt)), None)
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    return f" above {above}" if above is not None else ""


def to_yaml(settings: BaseModel, *, secrets: bool = False) -> str:
    """The settings as a YAML file in which each line says what it sets,
    what it may be, and its default.
    """
    lines = [
        "# EchoRank's one deployment file. Check it with `echorank config check`.",
        (
            "# The environment overrides any setting: ECHORANK__SERVING__PORT=7000 sets "
            "serving.port, and so on."
        ),
        (
            "# A text is taken from its variable as it is; an empty variable is null, where null "
            "is allowed."
        ),
    ]
    for name, field in type(settings).model_fields.items():
        lines += [
            "",
            f"# {field.description}",
            f"{name}:",
            *_body(getattr(settings, name), name, "  ", secrets),
        ]
    return "\n".join(lines) + "\n"


def _body(value: Any, path: str, indent: str, secrets: bool) -> Iterator[str]:
    """The lines below a section's name."""
    if isinstance(value, tuple):
        for item in value:
            comment, first, *rest = _body(item, f"{path}[]", indent + "  ", secrets)
            yield from (comment, f"{indent}- {first.strip()}", *rest)
        return
    for name, field in type(value).model_fields.items():
        inner = getattr(value, name)
        inner_path = f"{path}.{name}"
        if isinstance(inner, BaseModel):
            yield from (f"{indent}# {field.description}", f"{indent}{name}:")
            yield from _body(inner, inner_path, indent + "  ", secrets)
            continue
        yield f"{indent}# {field.description}"
        if not secrets and _is_secret(inner_path, inner):
            yield (
                f"{indent}# {name} is set and left out here: set {variable_of(inner_path)}, or "
                "print it by --secrets."
            )
        else:
            yield f"{indent}{name}: {_scalar(inner)}  # {_limits(field)}"


def _is_secret(path: str, value: Any) -> bool:
    return value is not None and (
        path in SECRETS or (isinstance(value, str) and shown(value) != value)
    )


def to_table(model: type[BaseModel], start: str = "") -> Table:
    """Every setting whose path begins with `start`, with its meaning and its variable."""
    from rich.table import Table  # noqa: PLC0415 (actors read settings and draw no tables)

    table = Table("setting", "default", "allowed", "meaning", "environment")
    for path, field in settings_of(model):
        if path.startswith(start):
            default = "required" if field.is_required() else _scalar(field.default)
            table.add_row(
                path.replace("[]", "[i]"),
                default,
                allowed(field),
                field.description,
                variable_of(path),
            )
    return table


def variable_of(path: str) -> str:
    """The variable of the environment that sets this setting, or the list that it stands in."""
    return f"{PREFIX}{path.split('[]', maxsplit=1)[0].upper().replace('.', '__')}"


def _limits(field: FieldInfo) -> str:
    default = "required" if field.is_required() else f"default {_scalar(field.default)}"
    return f"{allowed(field)}; {default}"


def _scalar(value: Any) -> str:
    """One line of YAML, whatever a text holds."""
    if isinstance(value, str) and not value.isprintable():
        return yaml.safe_dump(value, default_style='"', width=sys.maxsize).strip()
    return (
        yaml.safe_dump(value, default_flow_style=True, width=sys.maxsize)
        .removesuffix("...\n")
        .strip()
    )
