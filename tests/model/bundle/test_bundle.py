"""Publishing and loading: a bundle serves what its network computes, or says why not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xxhash

from model.bundle.bundle import UNKNOWN_ACTION, Bundle
from model.bundle.files import FORMAT
from model.bundle.load import load_bundle
from model.config import ModelConfig
from model.errors import BundleError
from model.levels import Level
from model.network.export import random_bundle, write_bundle
from tests.model.models import ITEMS, VARIANTS, fold_all, histories, network

NAMES = tuple(f"item {i}" for i in range(ITEMS))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle directory of a small lively network."""
    path = tmp_path_factory.mktemp("bundles") / "small"
    config = ModelConfig(**VARIANTS["small"], actions=("view", "buy"))
    write_bundle(path, network(config), NAMES, np.arange(ITEMS, dtype=float), {"from": "a test"})
    return path


def copy_of(published: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    copied = tmp_path / "copy"
    copied.mkdir()
    for file in published.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    return copied


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_equal_the_networks_head(variant: str, tmp_path: Path) -> None:
    """Absorbed, pre-stored and streamed scoring equals the head on
    whole histories (float32 states), also of a user who comes back to the same few items.
    """
    config = ModelConfig(**VARIANTS[variant], state_dtype="float32", actions=("view", "buy"))
    made = network(config)
    batch = histories(2, 70, ModelConfig(actions=("view", "buy")))
    batch.items[1] %= 7
    write_bundle(tmp_path / "b", made, NAMES, np.ones(ITEMS), {})
    bundle = load_bundle(tmp_path / "b")
    rows = fold_all(bundle._fold, config, batch)
    candidates = torch.arange(ITEMS + config.hashed_items)[None, None].expand(2, 1, -1)
    now_ms = batch.times_ms[:, -1:] + 3_600_000
    with torch.no_grad():
        encoding = made.encode(batch)
        at = torch.full((2, 1), batch.items.shape[1] - 1)
        expected = made.head(encoding, batch, at, candidates, now_ms).sigmoid()[:, 0].numpy()
        next_item = made.next_item_logits(encoding, batch)[:, -1].sigmoid().numpy()
    for user in range(2):
        scores = bundle.score(rows[user], candidates[user, 0].numpy(), int(now_ms[user, 0]))
        assert scores.level is Level.FULL
        np.testing.assert_allclose(scores.probabilities, expected[user], atol=2e-4)
        short = bundle.score(rows[user], np.arange(ITEMS), int(now_ms[user, 0]), Level.SEQUENCE)
        np.testing.assert_allclose(short.probabilities, next_item[user], atol=2e-4)


def test_cold_users_get_popularity(published: Path) -> None:
    """Without a state the answer is PRIOR and ordered by clicks."""
    bundle = load_bundle(published)
    scores = bundle.score(None, np.arange(ITEMS), 0)
    assert scores.level is Level.PRIOR
    assert (np.diff(scores.probabilities) > 0).all()
    top, _ = bundle.recommend(None, 3, exclude_seen=False, now_ms=0)
    assert top.tolist() == [ITEMS - 1, ITEMS - 2, ITEMS - 3]


def test_recommend_leaves_out_what_was_seen(published: Path) -> None:
    """`exclude_seen` removes ring and tail; the list is sorted and has no repeats."""
    bundle = load_bundle(published)
    batch = histories(1, 20, bundle.config)
    rows = fold_all(bundle._fold, bundle.config, batch)
    top, scores = bundle.recommend(
        rows[0], ITEMS, exclude_seen=True, now_ms=int(batch.times_ms[0, -1])
    )
    assert set(top.tolist()) == set(range(ITEMS)) - set(batch.items[0].tolist())
    assert (np.diff(scores.probabilities) <= 0).all()
    every, _ = bundle.recommend(
        rows[0], ITEMS, exclude_seen=False, now_ms=int(batch.times_ms[0, -1])
    )
    assert set(every.tolist()) == set(range(ITEMS))


def test_a_bundle_returns_as_it_was_written(published: Path) -> None:
    """Configuration, items and version survive;
    unknown items get hashed rows and unknown actions none.
    """
    bundle = load_bundle(published)
    assert bundle.items == NAMES
    assert bundle.version == json.loads((published / "manifest.json").read_text())["version"]
    keys = np.array([bundle._keys[0], 12345], dtype=np.uint64)
    rows = bundle.item_rows(keys)
    assert 0 <= rows[0] < ITEMS
    assert rows[1] == ITEMS + 12345 % bundle.config.hashed_items
    assert bundle.action_ids(np.array([7], dtype=np.uint64)).tolist() == [UNKNOWN_ACTION]


def _ids(bundle: Bundle, *names: str) -> list[int]:
    keys = [xxhash.xxh64_intdigest(name.encode()) for name in names]
    return bundle.action_ids(np.array(keys, dtype=np.uint64)).tolist()


def test_an_action_without_a_name_is_a_click() -> None:
    """As it is in the stream, also for a model of a log that left names empty;
    click's own place goes first.
    """
    known = random_bundle(ModelConfig(**VARIANTS["small"], actions=("view", "")), NAMES)
    assert _ids(known, "view", "click", "buy") == [0, 1, UNKNOWN_ACTION]
    both = random_bundle(ModelConfig(**VARIANTS["small"], actions=("click", "")), NAMES)
    assert _ids(both, "click") == [0]


def test_an_action_that_is_no_models_is_never_folded() -> None:
    """A number beyond the model's actions would read beyond its arrays."""
    bundle = random_bundle(ModelConfig(**VARIANTS["small"]), NAMES)
    rows = np.zeros((1, bundle.layout.row_bytes), dtype=np.uint8)
    one = np.zeros(1, dtype=np.int64)
    with pytest.raises(ValueError, match="action 255"):
        bundle.fold(
            rows,
            one,
            one.astype(np.uint64),
            one,
            np.array([UNKNOWN_ACTION], np.uint8),
            one + 1,
            one,
        )
    assert not rows.any()


def test_read_only_columns_are_accepted() -> None:
    """Batches that arrive as read-only arrays fold like any others."""
    bundle = random_bundle(ModelConfig(), NAMES)
    column = np.zeros(1, dtype=np.int64)
    column.flags.writeable = False
    rows = np.zeros((1, bundle.layout.row_bytes), dtype=np.uint8)
    bundle.fold(rows, column, column.view(np.uint64), column, np.zeros(1, np.uint8), column, column)
    assert bundle.remembered(rows[0]).events == 1


@pytest.mark.parametrize(
    "file", ["weights.safetensors", "items.parquet", "config.json", "golden.json"]
)
def test_a_damaged_file_is_named(published: Path, tmp_path: Path, file: str) -> None:
    """One flipped bit anywhere is found and the file is named."""
    copied = copy_of(published, tmp_path)
    content = bytearray((copied / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / file).write_bytes(content)
    with pytest.raises(BundleError, match=f"{file} is damaged"):
        load_bundle(copied)


def test_a_missing_bundle_says_how_to_make_one(tmp_path: Path) -> None:
    """The message names the path and the command."""
    with pytest.raises(BundleError, match="echorank train"):
        load_bundle(tmp_path / "nothing")


def test_a_bundle_of_another_version_says_what_to_do(published: Path, tmp_path: Path) -> None:
    """Weights of another meaning are never served: the message says whose they are."""
    copied = copy_of(published, tmp_path)
    manifest = json.loads((copied / "manifest.json").read_text())
    for number, made in ((FORMAT - 1, "an older version"), (FORMAT + 1, "a newer version")):
        (copied / "manifest.json").write_text(json.dumps(manifest | {"format": number}))
        with pytest.raises(BundleError, match=f"{made} .*train and publish again"):
            load_bundle(copied)


def test_a_missing_file_is_named(published: Path, tmp_path: Path) -> None:
    """A bundle without its weights is refused by name."""
    copied = copy_of(published, tmp_path)
    (copied / "weights.safetensors").unlink()
    with pytest.raises(BundleError, match=r"lacks weights\.safetensors"):
        load_bundle(copied)


@pytest.mark.parametrize(("part", "value"), [("state_digest", "0"), ("scores", [[0.5] * 8] * 4)])
def test_golden_examples_that_differ_are_refused(
    published: Path, tmp_path: Path, part: str, value: object
) -> None:
    """A bundle whose states or scores come out differently here is not served,
    even when its files are sound.
    """
    from model.bundle import files as bundle_files  # noqa: PLC0415

    content = bundle_files.read(published)
    counts = np.ones(ITEMS)
    golden = content.golden | {part: value}
    bundle_files.write(tmp_path / "b", content.config, NAMES, counts, content.arrays, golden, {})
    with pytest.raises(BundleError, match="golden"):
        load_bundle(tmp_path / "b")
    assert isinstance(load_bundle(tmp_path / "b", verify=False), Bundle)
