"""What remembering which items a user had is worth, and how much of it:
one trained network, many memories.

The network's next-item logits are taken without its membership bias; then each memory adds the bias
of what it still knows. Exact memories know the newest so many events, the ages of which fall into
the trained buckets, and beyond those into the oldest one. A Bloom filter knows, without age and
number, what the exact part has lost; what it takes for seen and is not gets a vote as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
import xxhash

from bench import report
from model.arrays import Floats, Longs
from model.network.network import Network
from training.data import datasets
from training.data.sequences import Held
from training.fit.allocation import prepare_process
from training.fit.checkpoint import Checkpoint
from training.measure.evaluate import Encoder, asks
from training.measure.ranking import Ranking
from training.runs import leave_one_out

RING = 32
ALL = 1 << 30
FIGURES = ("hr10", "ndcg10", "hr10_excluded", "ndcg10_excluded")


class Memory(NamedTuple):
    """The newest `events` exactly, and what is older in a Bloom filter of
    `bits`; `cost` in bytes a user.
    """

    name: str
    cost: int | None
    events: int
    bits: int = 0
    hashes: int = 1


def memories() -> Iterator[Memory]:
    """Everything under study, by kind and size."""
    yield Memory("none", 0, 0)
    yield Memory("ring of 32", 0, RING)
    for tail in (32, 64, 128, 256, 512, 1024):
        yield Memory(f"ring, {tail:,} fingerprints", 2 * tail, RING + tail)
    for bits in (1024, 2048, 4096, 8192):
        for hashes in (1, 2):
            name = f"ring, 256 fingerprints, Bloom filter of {bits:,} bits, hashes: {hashes}"
            yield Memory(name, 512 + bits // 8, RING + 256, bits, hashes)
    for bits in (2048, 4096, 8192):
        yield Memory(f"ring, Bloom filter of {bits:,} bits, hashes: 1", bits // 8, RING, bits)
    yield Memory("everything, exactly", None, ALL)


class Filter:
    """The bits of every catalogue item in a Bloom filter,
    by xxh64 of its row with one seed a hash.
    """

    def __init__(self, items: int, bits: int, hashes: int) -> None:
        self.bits = bits
        rows = np.arange(items, dtype=np.int64)
        digests = [
            [xxhash.xxh64_intdigest(row.tobytes(), seed=seed) for seed in range(hashes)]
            for row in rows
        ]
        self._of = np.array(digests, dtype=np.uint64) % np.uint64(bits)  # (V, hashes)

    def positives(self, rows: Longs) -> Longs:
        """Catalogue items that a filter holding `rows` takes for seen."""
        held = np.zeros(self.bits, dtype=bool)
        held[self._of[rows].ravel()] = True
        return np.flatnonzero(held[self._of].all(axis=1))


def known_to(
    memory: Memory, bloom: Filter | None, items: Longs, votes_of: Floats, catalogue: int
) -> Floats:
    """Votes and number (2, V) of the occurrences that a memory knows of
    after the catalogue events `items` (n,), oldest first.

    `votes_of` is the vote of each age in events; its last place stands for all older ones.
    """
    age = np.arange(len(items))[::-1]
    recent = age < memory.events
    summed = np.zeros((2, catalogue), dtype=np.float32)
    if bloom is not None:
        summed[:, bloom.positives(items[~recent])] = [[votes_of[-1]], [1]]
    np.add.at(summed[0], items[recent], votes_of[np.minimum(age[recent], len(votes_of) - 1)])
    np.add.at(summed[1], items[recent], 1)
    return summed


@torch.inference_mode()
def measure(network: Network, held: Held, chosen: Sequence[Memory]) -> list[Ranking]:
    """The held-out events' ranks with each memory."""
    items = network.items
    encoder = Encoder(network)
    table = network.embedding.item.weight[:items]
    bias = network.item_bias[:items]
    votes_of = network.membership.votes_of(torch.arange(network.membership.reach)).numpy()
    filters = [
        Filter(items, memory.bits, memory.hashes) if memory.bits else None for memory in chosen
    ]
    parts: list[list[Ranking]] = [[] for _ in chosen]
    for asked in asks(held, items, None):
        encoding = encoder(asked.batch.events)[1]
        logits = (encoding.sequence[asked.row, asked.at] @ table.mT + bias).numpy()  # (m, V)
        events = asked.batch.events.items.numpy()
        past = [
            row[: at + 1][row[: at + 1] < items]
            for row, at in zip(events[asked.row], asked.at, strict=True)
        ]
        for memory, bloom, found in zip(chosen, filters, parts, strict=True):
            each = [known_to(memory, bloom, one, votes_of, items) for one in past]
            summed = torch.from_numpy(np.stack(each, axis=1))  # (2, m, V)
            added = network.membership.bias_of(summed).numpy()
            found.append(Ranking.of(logits + added, held, asked.begins + asked.at))
    return [Ranking.joined(found) for found in parts]


def markdown(lines: Sequence[dict[str, Any]], about: dict[str, str]) -> str:
    """memories.md."""
    heads = (
        "memory",
        "bytes a user",
        *(f"{part} {name}" for part in ("validation", "test") for name in FIGURES),
    )
    cells = [
        (
            line["memory"],
            "-" if line["bytes"] is None else f"{line['bytes']:,}",
            *(f"{line[part][name]:.4f}" for part in ("validation", "test") for name in FIGURES),
        )
        for line in lines
    ]
    return (
        "# How much of a history must be remembered exactly\n\nOne trained network in float32; "
        "only what its membership bias knows differs (`bench/accuracy/states/memories.py`).\nBytes "
        "are those beyond the ring, which is kept "
        f"anyway.\n\n{report.table(heads, cells)}\n\n{report.footer(about)}\n"
    )


def compare_memories(
    checkpoint: Annotated[
        Path, typer.Argument(help="Directory that echorank train or next-item --out wrote.")
    ],
    data: Annotated[str, typer.Option(help="Data set that the model was trained on.")] = "ml-1m",
    path: Annotated[
        Path | None, typer.Option(help="The data set's file, where PyPI has none.")
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="Three memories only; writes below out/bench/.")
    ] = False,
    out: report.Out = None,
) -> None:
    """HR and NDCG with no, part of, or all of a history remembered:
    fingerprints, Bloom filters, exact.

    Writes bench/results/memories.md and raw/memories.json.
    """
    place = report.folder_for(quick, out)
    prepare_process()
    model = Checkpoint.load(checkpoint)
    log = datasets.load(data, path=path)
    parts = leave_one_out(log, model.network.config)
    chosen = list(memories())[: 3 if quick else None]
    held = {"validation": parts.held, "test": parts.test}
    found = {
        part: [_figures(each) for each in measure(model.network, one, chosen)]
        for part, one in held.items()
    }
    lines: list[dict[str, Any]] = [
        {"memory": memory.name, "bytes": memory.cost, **{part: found[part][place] for part in held}}
        for place, memory in enumerate(chosen)
    ]
    about = {"data": data, "model": str(checkpoint)} | report.provenance(quick)
    for line in lines:
        print(
            f"{line['memory']}: test HR@10 {line['test']['hr10']:.4f}, NDCG@10 "
            f"{line['test']['ndcg10']:.4f}"
        )
    report.write("memories", {"rows": lines, **about}, markdown(lines, about), place)


def _figures(ranking: Ranking) -> dict[str, float]:
    summary = ranking.summary()
    return {name: round(summary[name], 5) for name in FIGURES}
