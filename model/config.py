"""The shape of a model: everything that decides what a state means and how many bytes it takes.

Dimension letters used in this package
    B users, L events, Q events asked about, M candidates, V catalogue items, U hashed rows for
    unknown items, A actions, D model width, E = expand * D inner width, H heads, P = E / H head
    width, N state size, W short-convolution width, K ring length, J newest events that the head
    attends over, T seen-tail length, R low-rank slots, F = glu_expand * D inner width of the GLUs,
    G gap buckets, Z = head_width inner width of the scoring head; in the scan over histories, C
    chunks of S events.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

SCHEMA_VERSION = 2
ACTIONS_MAX = 255  # a byte of the state each


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes and switches of one model; frozen, and part of every bundle and snapshot.

    Raises:
        ValueError: a size is out of range or two settings contradict each other.
    """

    width: int = 128  # D
    expand: int = 1  # E = expand * D
    heads: int = 8  # H, of the state space
    state_size: int = 6  # N
    conv_width: int = 4  # W
    spectral_filter: bool = True
    window_attention: bool = True
    window_heads: int = 2
    input_glu: bool = True
    glu_expand: int = 1  # GLU inner width = glu_expand * D
    ring_length: int = 32  # K
    tail_length: int = 512  # T
    slots: int = 4  # R
    head_width: int = 64
    head_ring: int = 16  # newest events that the head attends over; no more than the ring holds
    actions: tuple[str, ...] = ("click",)
    gap_buckets: int = 32
    hashed_items: int = 64  # U
    state_dtype: Literal["int8", "float32"] = "int8"
    ssm_bits: Literal[8, 16] = 16  # of the state space's numbers in an int8 state
    drop_duplicates: bool = False

    def __post_init__(self) -> None:
        """Check that the sizes fit together."""
        if self.inner % self.heads:
            raise ValueError(
                f"expand * width = {self.inner} must be a multiple of heads = {self.heads}"
            )
        if self.head_dim & (self.head_dim - 1) or self.head_dim < 8:
            raise ValueError(
                f"expand * width / heads = {self.head_dim} must be a power of two, 8 or more"
            )
        if self.width % 16:
            raise ValueError(
                f"width = {self.width} must be a multiple of 16 (the kernels work in lanes of 16)"
            )
        if self.width % self.window_heads or (self.width // self.window_heads) % 16:
            raise ValueError(
                f"width / window_heads = {self.width}/{self.window_heads} must be a multiple of 16"
            )
        if not 1 <= len(self.actions) <= ACTIONS_MAX:
            raise ValueError(
                f"actions: 1 to {ACTIONS_MAX} names are possible, got {len(self.actions)}"
            )
        for name in ("ring_length", "tail_length"):
            size = getattr(self, name)
            if size & (size - 1) or not 1 <= size <= 4096:
                raise ValueError(f"{name} = {size} must be a power of two between 1 and 4096")
        if self.head_ring < 1:
            raise ValueError(f"head_ring = {self.head_ring} must be at least 1")

    @property
    def inner(self) -> int:
        """E, the inner width of the state space."""
        return self.expand * self.width

    @property
    def head_dim(self) -> int:
        """P = E / H."""
        return self.inner // self.heads

    @property
    def attended(self) -> int:
        """J, the newest events that the head attends over."""
        return min(self.head_ring, self.ring_length)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, so that equal settings give equal bytes."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Read what `to_json` wrote.

        Raises:
            ValueError: an unknown or missing setting, named in the message.
        """
        values: dict[str, Any] = json.loads(text)
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(
                f"model config has unknown settings {unknown}; this version knows {sorted(known)}"
            )
        values["actions"] = tuple(values["actions"])
        return cls(**values)

    def schema_hash(self) -> str:
        """16 hexadecimal digits that change whenever a state's bytes would mean something else."""
        text = f"{SCHEMA_VERSION}:{self.to_json()}"
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
