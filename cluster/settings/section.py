"""What all groups of settings have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from model.credentials import shown


class Section(BaseModel):
    """A group of settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """The settings, without the key and secret that a URI may carry."""
        for name, value in super().__repr_args__():
            yield name, shown(value) if isinstance(value, str) else value
