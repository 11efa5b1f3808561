"""Problems with settings, one readable line each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cluster.settings.docs import SECRETS, allowed, is_list, section_of, settings_of, variable_of
from model.credentials import shown

Location = tuple[int | str, ...]


def problems_of(
    error: ValidationError, model: type[BaseModel], origins: Mapping[str, str]
) -> list[str]:
    """One line per problem: dotted path, value, what is allowed; `origins`: variable by path."""
    return [_line(detail, model, origins) for detail in error.errors(include_url=False)]


def _line(detail: ErrorDetails, model: type[BaseModel], origins: Mapping[str, str]) -> str:
    section, field = _find(model, detail["loc"])
    path = _dotted(detail["loc"])
    variables = [
        variable for set_path, variable in origins.items() if f"{set_path}.".startswith(f"{path}.")
    ]
    name = f"{path} ({variables[0]})" if variables and (path in origins or field is None) else path
    shown = (
        "(hidden)"
        if path in SECRETS
        else _short(detail["input"], is_section=field and section_of(field))
    )
    match detail["type"]:
        case "extra_forbidden":
            return (
                f"  {name}: unknown setting; "
                f"{_nearest(path, section, model, by_variable=bool(variables))}"
            )
        case "missing":
            return f"  {name}: missing; {_wanted(field)}"
        case "value_error":
            return f"  {name}: {detail['ctx']['error']}".replace("  : ", "  ")
        case _:
            return f"  {name}: {shown} is not allowed; {_wanted(field)}"


def _find(model: type[BaseModel], location: Location) -> tuple[type[BaseModel], FieldInfo | None]:
    """The section that holds the place, and the field at the place if there is one."""
    field: FieldInfo | None = None
    for part in location:
        if isinstance(part, int):
            continue
        if field is not None and (inner := section_of(field)):
            model = inner
        field = model.model_fields.get(part)
    return model, field


def _dotted(location: Location) -> str:
    return "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in location
    ).lstrip(".")


def _wanted(field: FieldInfo | None) -> str:
    """What the place takes, in words."""
    section = section_of(field) if field else None
    if field is None:
        return "compare with `echorank config print`"
    if section is None:
        pattern = next(
            (mark.pattern for mark in field.metadata if getattr(mark, "pattern", None)), None
        )
        return f"expected {allowed(field)}" + (f" that matches {pattern}" if pattern else "")
    keys = ", ".join(section.model_fields)
    return (
        f"expected {'at least one entry of a list, each' if is_list(field) else 'a section'} "
        f"with {keys}"
    )


def _nearest(
    path: str, section: type[BaseModel], model: type[BaseModel], *, by_variable: bool
) -> str:
    """The known setting that an unknown one probably means."""
    parent, _, leaf = path.rpartition(".")
    everywhere = [known for known, _ in settings_of(model)]
    same_name = [known for known in everywhere if known.rpartition(".")[2] == leaf]
    siblings = [f"{parent}.{name}".lstrip(".") for name in _close(leaf, section.model_fields)]
    flat = {known.replace(".", "_"): known for known in everywhere}
    if (
        guesses := same_name
        or siblings
        or [flat[name] for name in _close(path.replace(".", "_"), flat)]
    ):
        variables = (
            f" Its variable is {' or '.join(map(variable_of, guesses))}" if by_variable else ""
        )
        return f"did you mean {' or '.join(guesses)}?{variables}"
    return f"known here: {', '.join(section.model_fields)}"


def _close(name: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name.lower(), list(known), n=1)


def _short(value: Any, *, is_section: object) -> str:
    if is_section and not isinstance(value, int | float | None):
        return f"a {type(value).__name__}"  # which may hold a secret
    text = shown(repr(value))
    return text if len(text) <= 80 else f"{text[:77]}..."
