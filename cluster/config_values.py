"""What a setting may be, where a type alone does not say it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field


def _secret(value: str) -> str:
    if not value:
        raise ValueError("is empty, which protects nothing; set one, or leave it out (its variable unset) to have none")
    if not value.strip("*"):
        raise ValueError("is nothing but stars, which once stood for a secret that was not printed; set the secret")
    return value


def _token(value: str) -> str:
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", _secret(value)):
        raise ValueError("cannot be sent by gRPC; a token is of printable ASCII, without blanks before or after it")
    return value


Port = Annotated[int, Field(ge=0, le=65_535)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]
Secret = Annotated[str, AfterValidator(_secret)]
Token = Annotated[str, AfterValidator(_token)]
