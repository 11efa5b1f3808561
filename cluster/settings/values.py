"""What a setting may be, where a type alone does not say it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from model.credentials import shown

PORT_MAX = 65_535
SCHEMES = ("file", "s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss")


def _secret(value: str) -> str:
    if not value:
        raise ValueError(
            "is empty, which protects nothing; set one, or leave it out (its variable unset) to "
            "have none"
        )
    if not value.strip("*"):
        raise ValueError(
            "is nothing but stars, which once stood for a secret that was not printed; set the "
            "secret"
        )
    return value


def _token(value: str) -> str:
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", _secret(value)):
        raise ValueError(
            "cannot be sent by gRPC; a token is of printable ASCII, without blanks before or "
            "after it"
        )
    return value


def servers(text: str) -> str:
    """The list of brokers, tidied up.

    Raises:
        ValueError: an entry is no host:port.
    """
    entries = [entry.strip() for entry in text.split(",")]
    for entry in entries:
        quoted = repr(entry) if "@" not in entry else "an entry with @"  # which may hold a password
        if not entry:
            raise ValueError(
                "has an empty entry; write host:port, with one comma between two (no variable for "
                "none)"
            )
        if not _port_of(entry):
            example = entry if re.fullmatch(r"[A-Za-z0-9.-]+", entry) else "kafka-1"
            raise ValueError(
                f"{quoted} is no host:port; write such as {example}:9092, without a scheme, the "
                "port from 1 to 65535 and an IPv6 address in brackets"
            )
    return ",".join(entries)


def _port_of(entry: str) -> int:
    """The port of host:port; 0 if it is nothing of the kind."""
    found = re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%A-Za-z]+\]):([0-9]{1,5})", entry)
    return int(found[2]) if found and int(found[2]) <= PORT_MAX else 0


def _cluster(text: str) -> str:
    if text not in {"auto", "local"} and not _port_of(text.removeprefix("ray://")):
        raise ValueError(f"{text!r} is neither auto nor host:port, such as 10.0.0.1:6379")
    return text


def _topic(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name) or name in {".", ".."}:
        raise ValueError(
            f"{name[:80]!r} is no topic's name: Kafka takes 1 to 249 of a-z, A-Z, 0-9, dot, _ and -"
        )
    return name


def _path(text: str) -> str:
    """A local path."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", text):
        raise ValueError(f"{_quoted(text)} is no path on a local disk, and no URI may stand here")
    if text.startswith("~"):
        raise ValueError(f"{text!r}: ~ is not expanded here; write the whole path")
    if not text.isprintable():
        raise ValueError(f"{text!r} holds characters that no path should")
    return text


def directory(text: str) -> str:
    """A local path or a file-system URI, as it was given.

    Raises:
        ValueError: it is neither.
    """
    found = re.fullmatch(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", text, re.DOTALL)
    if found is None:
        return _path(text)
    scheme = found[1]
    rest = found[2]
    if scheme not in SCHEMES:
        known = ", ".join(SCHEMES)
        raise ValueError(
            f"{_quoted(text)}: no file system is called {scheme}; a URI begins with one of {known}"
        )
    if not re.fullmatch(r"//[^\s\x00-\x1f]*", rest):
        raise ValueError(f"{_quoted(text)} is no URI; write {_example(scheme)}, without blanks")
    place = rest[2:].partition("?")[0]
    if (
        (not place.startswith("/"))
        if scheme == "file"
        else (place.startswith("/") or not place) and scheme != "hdfs"
    ):
        wanted = "a whole path" if scheme == "file" else "a bucket or host"
        raise ValueError(
            f"{_quoted(text)} names no {wanted[2:]}; write {wanted}, as in {_example(scheme)}"
        )
    return text


def _quoted(text: str) -> str:
    """The text, without the key and secret that a URI, even an untidy one, may carry."""
    return repr(shown(re.sub(r":.*@", ":...@", text, flags=re.DOTALL)))


def _example(scheme: str) -> str:
    return "file:///var/echorank" if scheme == "file" else f"{scheme}://bucket/echorank"


Port = Annotated[int, Field(ge=0, le=PORT_MAX)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]
Secret = Annotated[str, AfterValidator(_secret)]
Token = Annotated[str, AfterValidator(_token)]
Servers = Annotated[str, AfterValidator(servers)]
ClusterAddress = Annotated[str, AfterValidator(_cluster)]
TopicName = Annotated[str, Field(min_length=1), AfterValidator(_topic)]
LocalPath = Annotated[str, Field(min_length=1), AfterValidator(_path)]
Directory = Annotated[str, Field(min_length=1), AfterValidator(directory)]
