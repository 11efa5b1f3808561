"""Addresses, directories, topics and paths among the settings:
what would fail later is refused when it is read.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import ConfigError
from cluster.settings.config import Settings, load
from cluster.settings.docs import to_yaml


def refusal(**environ: str) -> str:
    """The one line with which these variables are refused."""
    with pytest.raises(ConfigError) as caught:
        load(None, environ)
    _, line = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("kafka-1:9092", "kafka-1:9092"),
        ("a:1, b.example.org:65535 ,[::1]:9092", "a:1,b.example.org:65535,[::1]:9092"),
        ("127.0.0.1:9092", "127.0.0.1:9092"),
    ],
)
def test_lists_of_brokers_are_tidied_up(given: str, taken: str) -> None:
    """Blanks around the entries are no part of a host."""
    assert (
        load(None, {"ECHORANK__KAFKA__BOOTSTRAP_SERVERS": given}).kafka.bootstrap_servers == taken
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("kafka-1", "'kafka-1' is no host:port; write such as kafka-1:9092"),
        ("a:1,kafka-2", "'kafka-2' is no host:port; write such as kafka-2:9092"),
        ("a:1,,b:2", "has an empty entry"),
        ("a:1,", "has an empty entry"),
        (" ", "has an empty entry"),
        ("PLAINTEXT://kafka:9092", "'PLAINTEXT://kafka:9092' is no host:port"),
        ("kafka:70000", "'kafka:70000' is no host:port"),
        ("kafka:0", "'kafka:0' is no host:port"),
        ("kafka:port", "'kafka:port' is no host:port"),
        ("::1:9092", "'::1:9092' is no host:port"),
        ("a:1;b:2", "'a:1;b:2' is no host:port"),
        ("a:1 b:2", "'a:1 b:2' is no host:port"),
        ("null", "'null' is no host:port"),
    ],
)
def test_brokers_without_a_host_or_port_are_refused(given: str, said: str) -> None:
    """kafka-python would take port 9092, or an empty host, without a word."""
    assert f"kafka.bootstrap_servers (ECHORANK__KAFKA__BOOTSTRAP_SERVERS): {said}" in refusal(
        ECHORANK__KAFKA__BOOTSTRAP_SERVERS=given
    )


def test_a_password_among_the_brokers_is_not_shown() -> None:
    """Some clients take user:password@host; this one does not, and does not print it."""
    assert "s3cret" not in refusal(ECHORANK__KAFKA__BOOTSTRAP_SERVERS="user:s3cret@kafka:9092")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("{user: item}", "user and item are both 'item'"),
        ("{user: item, item: user, time: user}", "item and time are both 'user'"),
        (
            "{user: item.id}",
            "item and user cannot both be read, user being 'item.id' and item 'item'",
        ),
        ("{user: a..b}", "user is 'a..b': a part between two dots is empty"),
        ("{item: .a}", "item is '.a': a part"),
    ],
)
def test_fields_of_one_path_are_refused(fields: str, said: str) -> None:
    """Two parts of a click cannot stand in one place, nor one inside the other."""
    assert f"  events.fields (ECHORANK__EVENTS__FIELDS): {said}" in refusal(
        ECHORANK__EVENTS__FIELDS=fields
    )


@pytest.mark.parametrize(
    "uri",
    ["s3://bucket/states", "gs://bucket", "hdfs://name:8020/x", "hdfs:///x", "file:///var/lib/x",
     "abfs://c@a.b/x", "s3://key:secret@bucket/x?region=eu", "out/state", "/var/lib/x", "../x",
     "./s3:/x", "a b", "1:2", "."],
)  # fmt: skip
def test_paths_and_uris_are_taken(uri: str) -> None:
    """Every file system that can hold states, and any local path."""
    settings = load(
        None, {"ECHORANK__STATE__DIRECTORY": uri, "ECHORANK__ARCHIVE__DIRECTORY": f"{uri}/archive"}
    )
    assert settings.state.directory == uri


@pytest.mark.parametrize("variable", ["ECHORANK__STATE__DIRECTORY", "ECHORANK__ARCHIVE__DIRECTORY"])
@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://", "names no bucket or host; write a bucket or host, as in s3://bucket/echorank"),
        ("s3:///x", "names no bucket or host"),
        ("gs://?region=eu", "names no bucket or host"),
        ("s3:/x", "is no URI; write s3://bucket/echorank"),
        ("s3:x", "is no URI"),
        ("foo://bar", "no file system is called foo"),
        ("S3://bucket/x", "no file system is called S3"),
        ("https://bucket/x", "no file system is called https"),
        ("file:relative", "is no URI; write file:///var/echorank"),
        (
            "file://relative/x",
            "names no whole path; write a whole path, as in file:///var/echorank",
        ),
        ("file://", "names no whole path"),
        ("s3://b ad/x", "is no URI"),
        ("~/states", "~ is not expanded"),
        ("a\nb", "characters that no path should"),
    ],
)
def test_untidy_directories_are_refused(variable: str, uri: str, said: str) -> None:
    """Each would be a traceback, or a directory of an odd name, somewhere later."""
    assert said in refusal(**{variable: uri})


def test_scratch_and_models_are_local() -> None:
    """A URI there would become a directory called `s3:`."""
    assert "no URI may stand here" in refusal(ECHORANK__STATE__COLD_DIRECTORY="s3://bucket/x")
    assert "arms[0].bundle: 's3://bucket/x' is no path" in refusal(
        ECHORANK__ARMS="[{name: a, bundle: 's3://bucket/x', weight: 10000, role: live}]"
    )


def test_keys_in_a_uri_are_shown_nowhere(tmp_path: Path) -> None:
    """Neither in a message, nor in a repr, nor in a print without --secrets."""
    assert "s3cret" not in refusal(ECHORANK__STATE__DIRECTORY="s3:// key:s3cret@bucket/x")
    assert "s3cret" not in refusal(ECHORANK__STATE__DIRECTORY="foo://key:s3cret@bucket/x")
    settings = load(None, {"ECHORANK__STATE__DIRECTORY": "s3://key:s3cret@bucket/x"})
    assert "s3cret" not in repr(settings) + str(settings) + to_yaml(settings)
    assert "# directory is set and left out here: set ECHORANK__STATE__DIRECTORY" in to_yaml(
        settings
    )
    (tmp_path / "printed.yaml").write_text(to_yaml(settings, secrets=True))
    assert load(tmp_path / "printed.yaml", {}) == settings


@pytest.mark.parametrize(
    ("state", "other", "name"),
    [
        ("out/x", "out/x", "ARCHIVE__DIRECTORY"),
        ("out/x", "./out//y/../x/", "ARCHIVE__DIRECTORY"),
        ("/srv/x", "file:///srv/x/", "ARCHIVE__DIRECTORY"),
        ("s3://b/x", "s3://b/x/", "ARCHIVE__DIRECTORY"),
        ("s3://k:s3cret@b/x", "s3://b/x", "ARCHIVE__DIRECTORY"),
        ("out/x", "out/x", "STATE__COLD_DIRECTORY"),
    ],
)
def test_one_directory_for_two_things_is_refused(state: str, other: str, name: str) -> None:
    """States, archive and scratch have a directory each, however it is spelt."""
    line = refusal(**{"ECHORANK__STATE__DIRECTORY": state, f"ECHORANK__{name}": other})
    assert "must be two directories, both are" in line
    assert "s3cret" not in line


def test_the_archive_that_is_off_has_no_directory() -> None:
    """What is not used cannot be in the way."""
    environ = {
        "ECHORANK__ARCHIVE__ENABLED": "false",
        "ECHORANK__ARCHIVE__DIRECTORY": Settings().state.directory,
    }
    assert not load(None, environ).archive.enabled


@pytest.mark.parametrize("name", ["my topic", "a/b", "..", "ünï", "a" * 250, "a,b"])
def test_names_that_no_topic_can_have_are_refused(name: str) -> None:
    """Kafka would refuse them when the system starts."""
    assert "is no topic's name" in refusal(ECHORANK__TOPICS__CLICKS=name)


@pytest.mark.parametrize(
    ("address", "fine"), [("auto", True), ("10.0.0.1:6379", True), ("head", False), ("", True)]
)
def test_addresses_of_ray(address: str, fine: bool) -> None:
    """auto, host:port, or empty for null."""
    environ = {"ECHORANK__RAY__ADDRESS": address}
    if fine:
        assert load(None, environ).ray.address == (address or None)
    else:
        assert "is neither auto nor host:port" in refusal(**environ)
