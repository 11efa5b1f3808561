"""What is left of one rare event after 10, 100 and 1,000 ordinary ones,
by the parts of the state that may remember it.

Users click items at random, and some purchase one item early on. Later one item of each category is
shown. A user who purchased clicks the one of the purchased item's category; everybody else clicks
that of the newest event's. Only the action tells the purchase from the clicks. Small models of the
product's own parts are trained on that and asked about users who purchased: once where everybody in
training did, which shows what a part can hold, and once where few did, so that the training seldom
asks for it.

Protected places: the last P events of rare actions, kept exactly beside the ring (DESIGN: "may hold
a protected place longer than K events"), read by target attention over item and action.
"""

from __future__ import annotations

import time
from itertools import product
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from bench import report
from model.config import ModelConfig
from model.network.embedding import Sequences
from model.network.head import RingAttention
from model.network.network import Encoding, Network
from training.errors import TrainingError
from training.fit.allocation import prepare_process
from training.measure.metrics import auc

# item i is of category i mod CATEGORIES
CATEGORIES = 8
ITEMS = 32
DISTANCES = (10, 100, 1000)  # ordinary events between the purchase and the question
LEAD = 8  # the purchase is among the first LEAD events
# 1,000 events take two weeks
START_MS = 1_700_000_000_000
GAP_MS = 1_200_000
SHARES = (1.0, 0.05)  # of the users in training who purchased
PLACES = 4  # P
PLACE_BYTES = 5  # item row (u32) and action (u8)
CONFIG = ModelConfig(
    width=16,
    expand=2,
    heads=4,
    window_heads=1,
    slots=8,
    head_ring=32,
    spectral_filter=False,
    window_attention=False,
    actions=("click", "purchase"),
)
MODELS: dict[str, tuple[str, ...]] = {
    "low-rank slots": ("slots",),
    "slots, ring": ("slots", "ring"),
    "slots, ring, state space": ("slots", "ring", "sequence"),
    "slots, ring, protected places": ("slots", "ring", "protected"),
}


class Task(NamedTuple):
    """Histories and what is asked about them; Q distances, M = CATEGORIES candidates."""

    events: Sequences  # (B, L)
    at: Tensor  # (B, Q) the newest event at each question
    candidates: Tensor  # (B, Q, M) item rows, one of each category
    labels: Tensor  # (B, Q, M) bool


def draw(
    users: int,
    random: np.random.Generator,
    share: float = 1.0,
    distances: tuple[int, ...] = DISTANCES,
) -> Task:
    """Histories of `users`, about a `share` of whom purchased one item."""
    length = LEAD + max(distances)
    items = random.integers(0, ITEMS, (users, length))
    actions = np.zeros((users, length), dtype=np.int64)
    bought = random.integers(0, LEAD, users)
    rare = random.random(users) < share
    actions[np.arange(users), bought] = rare
    at = bought[:, None] + np.array(distances)  # (B, Q)
    telling = np.where(rare[:, None], bought[:, None], at)
    category = np.take_along_axis(items, telling, axis=1) % CATEGORIES  # (B, Q)
    times = START_MS + np.cumsum(random.exponential(GAP_MS, (users, length)), axis=1).astype(
        np.int64
    )
    asked = (users, len(distances), CATEGORIES)
    candidates = np.arange(CATEGORIES) + CATEGORIES * random.integers(0, ITEMS // CATEGORIES, asked)
    labels = np.broadcast_to(np.arange(CATEGORIES) == category[..., None], asked).copy()
    mask = torch.ones(users, length, dtype=torch.bool)
    events = Sequences(
        torch.from_numpy(items), torch.from_numpy(actions), torch.from_numpy(times), mask
    )
    return Task(
        events, torch.from_numpy(at), torch.from_numpy(candidates), torch.from_numpy(labels)
    )


class Reader(nn.Module):
    """Some parts of the product's model under a small head that sees what each of them answers."""

    def __init__(self, parts: tuple[str, ...], config: ModelConfig = CONFIG) -> None:
        super().__init__()
        self.parts = parts
        self.network = Network(config, ITEMS)
        self.places = RingAttention(config)
        hidden = 32
        self.head = nn.Sequential(
            nn.Linear((1 + 2 * len(parts)) * config.width, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, task: Task) -> Tensor:
        """Logits (B, Q, M)."""
        # (B, Q, M, D)
        table = self.network.embedding
        vectors = self.network.embedding.item(task.candidates)
        encoding = self._encode(task.events)
        seen = [vectors]
        for part in self.parts:
            if part == "slots":
                cache, mass = self.network.lowrank.caches_at(
                    encoding.x, task.events.times_ms, task.at
                )
                answer = self.network.lowrank.read(cache, mass, vectors)
            elif part == "ring":
                # (B, Q, K)
                back = task.at[..., None] - torch.arange(self.network.config.ring_length)
                answer = self.network.ring(vectors, _at(encoding.x, back.clamp(min=0)), back >= 0)
            elif part == "sequence":
                answer = _at(encoding.sequence, task.at[..., None]).expand_as(vectors)
            else:
                place, kept = protected(
                    task.events.actions > 0, task.at, self.network.config.ring_length
                )
                whole = table.item(task.events.items) + table.action(task.events.actions)
                # (B, Q, 1): attention over nothing is not a number
                none = ~kept.any(dim=-1, keepdim=True)
                answer = self.places(vectors, _at(whole, place), kept | none) * ~none[..., None]
            seen += [answer, answer * vectors]
        logits: Tensor = self.head(torch.cat(seen, dim=-1)).squeeze(-1)
        return logits

    def _encode(self, events: Sequences) -> Encoding:
        if "sequence" in self.parts:
            return self.network.encode(events)
        gaps = torch.zeros_like(events.items)
        x = self.network.embedding(events.items, events.actions, gaps)
        return Encoding(x, x)


def protected(rare: Tensor, at: Tensor, width: int, places: int = PLACES) -> tuple[Tensor, Tensor]:
    """Positions (B, Q, width) of the last `places` rare events (B,
    L) up to `at` (B, Q), and which of them exist.
    """
    position = torch.arange(rare.shape[1])
    past = rare[:, None] & (position <= at[..., None])  # (B, Q, L)
    newest = torch.where(past, position, -1).topk(places, dim=-1).values  # (B, Q, P)
    newest = nn.functional.pad(newest, (0, width - places), value=-1)  # (B, Q, width)
    return newest.clamp(min=0), newest >= 0


def _at(x: Tensor, place: Tensor) -> Tensor:
    """x (B, L, D) at positions (B, Q, K): (B, Q, K, D)."""
    index = place.flatten(1)[..., None].expand(-1, -1, x.shape[-1])
    return x.gather(1, index).reshape(*place.shape, x.shape[-1])


def train(
    parts: tuple[str, ...],
    steps: int,
    seed: int,
    share: float = 1.0,
    *,
    users: int = 16,
    distances: tuple[int, ...] = DISTANCES,
) -> Reader:
    """Fit one model; each step draws new users, so nothing can be learned by heart."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    reader = Reader(parts)
    with torch.no_grad():
        # the catalogue is tiny: start with items and actions that can be told apart
        for table in (reader.network.embedding.item, reader.network.embedding.action):
            table.weight.normal_(std=0.5)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=1e-2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for _ in range(steps):
        task = draw(users, random, share, distances)
        loss = binary_cross_entropy_with_logits(reader(task), task.labels.float())
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return reader.eval()


@torch.inference_mode()
def measure(
    reader: Reader, *, users: int = 256, distances: tuple[int, ...] = DISTANCES
) -> dict[int, float]:
    """AUC at each distance, of users whom no training saw.

    Raises:
        TrainingError: the model has diverged.
    """
    random = np.random.default_rng(10_000)
    parts = []
    for _ in range(0, users, 32):
        task = draw(32, random, distances=distances)
        parts.append((task.labels.numpy(), reader(task).double().numpy()))
    labels, logits = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not np.isfinite(logits).all():
        raise TrainingError(
            f"{reader.parts}: logits are not numbers, the training has diverged; try fewer steps"
        )
    return {d: auc(labels[:, q].ravel(), logits[:, q].ravel()) for q, d in enumerate(distances)}


def extra_bytes(parts: tuple[str, ...]) -> int:
    """Bytes a user that these parts take, as shipped."""
    each = {
        "slots": CONFIG.slots * (CONFIG.width + 8),
        "ring": 6 * CONFIG.ring_length,
        "sequence": CONFIG.inner * CONFIG.state_size * CONFIG.ssm_bits // 8 + 4 * CONFIG.heads,
        "protected": PLACES * PLACE_BYTES,
    }
    return sum(each[part] for part in parts)


def markdown(rows: list[dict[str, Any]], about: dict[str, str]) -> str:
    """rare_signals.md."""
    heads = (
        "parts",
        "bytes of the parts",
        "purchases in training",
        "seed",
        *(f"AUC after {d:,}" for d in DISTANCES),
        "steps",
        "seconds",
    )
    cells = [
        (
            row["model"],
            row["bytes"],
            f"{row['share']:.0%}",
            row["seed"],
            *(f"{row['auc'][str(d)]:.3f}" for d in DISTANCES),
            row["steps"],
            row["s"],
        )
        for row in rows
    ]
    return (
        "# One rare event, and what is left of it\n\nUsers who purchased an item at the start "
        "click its category after "
        "10, 100 and 1,000 ordinary clicks; 0.5 is chance.\nIn training all users purchased, or "
        "one in twenty did. "
        f"Protected places keep the last {PLACES} rare events exactly.\n\n"
        f"{report.table(heads, cells)}\n\n{report.footer(about)}\n"
    )


def rare_signals(
    steps: Annotated[int, typer.Option(help="Training steps of each model.")] = 600,
    seeds: Annotated[int, typer.Option(help="Trainings of each model.")] = 1,
    quick: Annotated[
        bool, typer.Option(help="A few steps, to see that it works; writes below out/bench/.")
    ] = False,
    out: report.Out = None,
) -> None:
    """AUC against the distance to one telling event, for slots, ring,
    state space and protected places.

    Writes bench/results/rare_signals.md and raw/rare_signals.json; a model takes a minute or two
    on an idle core.
    """
    place = report.folder_for(quick, out)
    prepare_process()
    about = {"seeds": str(seeds)} | report.provenance(quick)
    rows: list[dict[str, Any]] = []
    for seed, share, name in product(range(seeds), SHARES, MODELS):
        parts = MODELS[name]
        started = time.process_time()
        count = 5 if quick else steps
        found = measure(train(parts, count, seed, share), users=32 if quick else 256)
        row = {
            "model": name,
            "bytes": extra_bytes(parts),
            "share": share,
            "seed": seed,
            "steps": count,
        }
        row |= {"auc": {str(d): round(value, 4) for d, value in found.items()}}
        rows.append(row | {"s": round(time.process_time() - started)})
        print(rows[-1], flush=True)
        figures: dict[str, object] = {"rows": rows, **about}
        report.write("rare_signals", figures, markdown(rows, about), place)
