"""Reads the metrics of every process that a gateway lists, as Prometheus does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from actors.errors import ShardUnavailable

TIMEOUT_S = 2.0
DIRECT = build_opener(ProxyHandler({}))  # a proxy of the environment is for the outside world


@dataclass(frozen=True, kw_only=True)
class Scraped:
    """One process: its labels from discovery, and its samples, or why there are none."""

    address: str
    labels: dict[str, str]
    samples: list[Sample] = field(default_factory=list)
    error: str | None = None


def scrape(monitoring: str, actor: str | None = None) -> list[Scraped]:
    """Every process that http://`monitoring`/sd lists,
    each asked for its metrics within two seconds.

    With `actor`, those of one kind: `ingest`, `shard` and so on.

    Raises:
        ShardUnavailable: the list itself cannot be had.
    """
    try:
        groups = json.loads(_get(f"http://{monitoring}/sd"))
    except (OSError, HTTPException, ValueError) as error:
        raise ShardUnavailable(
            f"no list of processes at http://{monitoring}/sd ({_reason(error)}); check "
            "monitoring.host and .port"
        ) from error
    listed = [
        (address, group["labels"])
        for group in groups
        for address in group["targets"]
        if actor in {None, group["labels"]["actor"]}
    ]
    with ThreadPoolExecutor(max_workers=16) as pool:
        return list(pool.map(lambda target: _scrape_one(*target), listed))


def values(scraped: Iterable[Scraped], name: str) -> Iterator[tuple[dict[str, str], float]]:
    """Labels and value of each sample called `name`, over all processes."""
    return ((s.labels, s.value) for process in scraped for s in process.samples if s.name == name)


def _scrape_one(address: str, labels: dict[str, str]) -> Scraped:
    try:
        text = _get(f"http://{address}/metrics").decode()
        samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]
    except (OSError, HTTPException, ValueError) as error:
        # a process that ends may send half of its text
        return Scraped(address=address, labels=labels, error=_reason(error))
    return Scraped(address=address, labels=labels, samples=samples)


def _get(url: str) -> bytes:
    with DIRECT.open(url, timeout=TIMEOUT_S) as answer:
        body: bytes = answer.read()
        return body


def _reason(error: Exception) -> str:
    return str(error.reason if isinstance(error, URLError) else error) or type(error).__name__
