"""Which models a shard takes: those of the system, from wherever they are, and no others."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from actors.backoff import Backoff
from actors.errors import BundleError, ConfigError
from cluster.processes import served_models
from cluster.processes.served_models import ServedModels
from model.bundle import files as bundle_files
from model.bundle import lease as bundle_lease
from model.bundle.bundle import Bundle
from model.bundle.load import load_bundle
from model.config import ModelConfig
from model.network.export import write_bundle
from model.network.network import Network
from monitoring.metrics import Metrics
from tests.actors.click_log import sample

ITEMS = tuple(f"item-{number}" for number in range(20))


def publish(path: Path, about: str) -> str:
    """A bundle whose version depends on what is said about it."""
    network = Network(ModelConfig(), len(ITEMS)).eval()
    return write_bundle(path, network, ITEMS, np.ones(len(ITEMS)), {"about": about})


def models(path: Path, version: str) -> ServedModels:
    """What a shard of a system with one arm loads."""
    return ServedModels({"main": str(path)}, {"main": version}, load_bundle)


def test_another_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Files that were replaced by hand are another model, which the other shards do not serve."""
    served = publish(tmp_path / "bundle", "old")
    new = publish(tmp_path / "new", "new")
    shutil.rmtree(tmp_path / "bundle")
    shutil.copytree(tmp_path / "new", tmp_path / "bundle")
    with pytest.raises(
        BundleError, match=rf"has version {new}, .* started with version {served}.*Put version"
    ):
        models(tmp_path / "bundle", served).load()


def test_what_is_served_is_kept_while_another_is_published_over_it(tmp_path: Path) -> None:
    """A shard that starts again takes the kept copy; once nobody serves it,
    the next publication removes it.
    """
    path = tmp_path / "bundle"
    served = publish(path, "old")
    shard = models(path, served)
    assert shard.load()["main"].version == served
    assert bundle_lease.is_held(path)
    newer = [publish(path, about) for about in ("new", "newer")]
    assert load_bundle(path).version == newer[1]
    again = models(path, served)
    assert again.load()["main"].version == served
    for each in (*shard._held, *again._held):
        each.close()
    publish(path, "newest")
    assert [each.name for each in tmp_path.iterdir() if each.is_dir()] == ["bundle"]


async def test_a_patient_shard_waits_for_the_model_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says by log and metric that it serves nothing,
    and goes on once the right files are back.
    """
    monkeypatch.setattr(served_models, "BACKOFF", Backoff(min_s=0.01, max_s=60))
    path = tmp_path / "bundle"
    served = publish(path, "old")
    path.rename(tmp_path / "away")
    publish(path, "new")
    metrics = Metrics(CollectorRegistry())
    told = asyncio.Event()

    async def tell() -> None:
        told.set()

    waiting = asyncio.create_task(models(path, served).awaited(metrics, tell))
    await asyncio.wait_for(told.wait(), 20)
    assert sample(metrics, "models_refused") == 1
    shutil.rmtree(path)
    (tmp_path / "away").rename(path)
    found = await asyncio.wait_for(waiting, 20)
    assert found["main"].version == served
    assert sample(metrics, "models_refused") == 0
    assert "this shard serves nothing for now" in caplog.text


async def test_what_nobody_can_mend_meanwhile_ends_the_wait(tmp_path: Path) -> None:
    """A wrong bundle is waited for, a wrong configuration is not."""

    def load(_: str) -> Bundle:
        raise ConfigError("no such kernel")

    async def tell() -> None:
        raise AssertionError

    metrics = Metrics(CollectorRegistry())
    patient = ServedModels({"main": str(tmp_path)}, {"main": "1"}, load)
    with pytest.raises(ConfigError, match="no such kernel"):
        await patient.awaited(metrics, tell)
    assert sample(metrics, "models_refused") == 0


def test_a_bundle_that_is_replaced_while_it_is_read_is_one_or_the_other(tmp_path: Path) -> None:
    """No mixture of two versions is ever taken,
    and the moment between two directories is not an error.
    """
    path = tmp_path / "bundle"
    versions = {publish(path, "old"), publish(tmp_path / "new", "new")}
    check = bundle_files._check
    swaps = iter([tmp_path / "new"])

    def swap_then_check(at: Path, manifest: dict[str, object]) -> dict[str, bytes]:
        for other in swaps:
            path.rename(tmp_path / "gone")
            other.rename(path)
        return check(at, manifest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle_files, "_check", swap_then_check)
        content = bundle_files.read(path)
    assert content.version in versions
    assert content.metadata["about"] == "new"
    # where a publication that is killed between its two renames leaves it
    path.rename(bundle_files._aside(path))
    assert bundle_files.read(path).version == content.version


def test_half_a_bundle_is_refused(tmp_path: Path) -> None:
    """One file of another version, as a copy under way leaves it, is said to be damaged."""
    publish(tmp_path / "a", "old")
    publish(tmp_path / "b", "new")
    shutil.copy(tmp_path / "b" / bundle_files.CONFIG, tmp_path / "a" / bundle_files.CONFIG)
    with pytest.raises(BundleError, match=r"config\.json is damaged"):
        load_bundle(tmp_path / "a")
