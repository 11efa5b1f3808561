"""What the settings name is looked at: models, certificates, file systems."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actors.errors import ConfigError
from cluster.settings.checks import check_around
from cluster.settings.config import Settings
from cluster.settings.serving import ArmSettings
from cluster.settings.storage import StateSettings
from cluster.settings.stream import KafkaSettings
from model.config import ModelConfig
from model.network.export import write_bundle
from tests.model.models import VARIANTS, network


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small published model."""
    write_bundle(
        tmp_path / "bundle", network(ModelConfig(**VARIANTS["small"])), ["a", "b"], np.ones(2), {}
    )
    return tmp_path / "bundle"


def arms(*bundles: Path) -> tuple[ArmSettings, ...]:
    """An arm for each bundle; the first takes the traffic."""
    return tuple(
        ArmSettings(
            name=f"arm-{n}",
            bundle=str(path),
            weight=0 if n else 10_000,
            role="candidate" if n else "live",
        )
        for n, path in enumerate(bundles)
    )


def problems(settings: Settings) -> list[str]:
    """The lines below the headline."""
    with pytest.raises(ConfigError) as caught:
        check_around(settings)
    return str(caught.value).splitlines()[1:]


def test_what_is_sound_passes(bundle: Path) -> None:
    """A published model and a local directory that is still to be made."""
    check_around(Settings(arms=arms(bundle, bundle)))


def test_each_missing_model_says_what_to_run(tmp_path: Path, bundle: Path) -> None:
    """Every arm is looked at; the line names arm and place, and the commands that make a model."""
    [first, second] = problems(Settings(arms=arms(tmp_path / "none", bundle, tmp_path / "gone")))
    assert first.startswith(f"  arms[0].bundle (arm arm-0): no bundle at {tmp_path / 'none'}")
    assert second.startswith(f"  arms[2].bundle (arm arm-2): no bundle at {tmp_path / 'gone'}")
    assert "echorank train" in first
    assert "echorank publish" in first


def test_a_damaged_model_is_found(bundle: Path) -> None:
    """Digests are compared, as a start does."""
    with (bundle / "weights.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    [line] = problems(Settings(arms=arms(bundle)))
    assert "weights.safetensors is damaged" in line


def test_a_model_that_is_too_large_is_found(bundle: Path) -> None:
    """A shard would refuse it when it starts."""
    [line] = problems(Settings(arms=arms(bundle), state=StateSettings(bytes_per_user_max=256)))
    assert "more than state.bytes_per_user_max = 256" in line


def test_a_certificate_that_is_not_there_is_found(bundle: Path) -> None:
    """The client would end in a traceback."""
    settings = Settings(arms=arms(bundle), kafka=KafkaSettings(ssl_cafile="/nowhere/ca.pem"))
    assert problems(settings) == [
        "  kafka.ssl_cafile: '/nowhere/ca.pem' cannot be read (No such file or directory); name "
        "the PEM file of the authority"
    ]


@pytest.mark.parametrize("uri", ["s3://k:s3cret@bucket/x?foo=1", "s3://bucket/%zz", "abfs://x"])
def test_uris_that_no_file_system_takes_are_found(uri: str, bundle: Path) -> None:
    """What the file system itself says of the URI,
    without the secret in it, and without asking its host.
    """
    [line] = problems(Settings(arms=arms(bundle), state=StateSettings(directory=uri)))
    assert line.startswith("  state.directory: ")
    assert "s3cret" not in line


def test_hosts_are_not_asked(bundle: Path) -> None:
    """A file is checked where the system does not run, too."""
    check_around(
        Settings(arms=arms(bundle), state=StateSettings(directory="s3://no-such-bucket.invalid/x"))
    )
