"""Settings: defaults, the file, the environment, and a readable line for each mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from actors.errors import ConfigError
from cluster.settings.config import Settings, load
from cluster.settings.docs import allowed, settings_of, to_yaml

SHIPPED = Path(__file__).parents[3] / "ray_config.yaml"


def problem(tmp_path: Path, text: str) -> str:
    """The message that loading `text` as a file raises."""
    file = tmp_path / "ray_config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    return str(caught.value)


def environment_problem(**environ: str) -> str:
    """The message that loading these variables raises."""
    with pytest.raises(ConfigError) as caught:
        load(None, environ)
    return str(caught.value)


def test_shipped_file_is_the_defaults_and_mentions_every_setting() -> None:
    """ray_config.yaml is what `config print` writes for the defaults,
    with a comment on each setting.
    """
    assert load(SHIPPED, {}) == Settings()
    assert SHIPPED.read_text() == to_yaml(Settings())
    lines = SHIPPED.read_text().replace("- ", "  ").splitlines()
    for path, field in settings_of(Settings):
        at = next(i for i, line in enumerate(lines) if line.strip() == f"# {field.description}")
        assert lines[at + 1].strip().startswith(f"{path.rpartition('.')[2]}: "), path
        assert f"  # {allowed(field)}; " in lines[at + 1], path


def test_sections_of_the_file_override_the_defaults_only_where_they_say_so(tmp_path: Path) -> None:
    """A short file changes what it names; empty sections keep their defaults."""
    file = tmp_path / "short.yaml"
    file.write_text("serving: {port: 7000}\nkafka:\nevents:\n  fields: {item: product.id}\n")
    settings = load(file, {})
    assert settings.serving.port == 7000
    assert settings.events.fields.item == "product.id"
    assert settings.kafka == Settings().kafka
    assert (
        settings.model_copy(update={"serving": Settings().serving, "events": Settings().events})
        == Settings()
    )


def test_environment_beats_the_file(tmp_path: Path) -> None:
    """A variable wins over the same setting in the file, and reaches sections inside sections."""
    file = tmp_path / "ray_config.yaml"
    file.write_text("serving: {port: 7000, shards: 3}\n")
    environ = {
        "ECHORANK__SERVING__PORT": "7001",
        "ECHORANK__EVENTS__FIELDS__USER": "uid",
        "PATH": "/bin",
    }
    settings = load(file, environ)
    assert (settings.serving.port, settings.serving.shards, settings.events.fields.user) == (
        7001,
        3,
        "uid",
    )


def test_environment_values_are_yaml_but_text_settings_take_the_variable_as_it_is() -> None:
    """True and numbers are YAML; text is nothing but itself,
    and an empty variable is null where null is allowed.
    """
    environ = {
        "ECHORANK__KAFKA__GROUP_ID": "0123",
        "ECHORANK__KAFKA__BOOTSTRAP_SERVERS": "",
        "ECHORANK__KAFKA__SASL_USERNAME": "null",
        "ECHORANK__KAFKA__SASL_MECHANISM": "",
        "ECHORANK__MONITORING__LOG_JSON": "true",
        "ECHORANK__STATE__IDLE_S": "null",
        "ECHORANK__STATE__SNAPSHOT_INTERVAL_S": "5",
    }
    settings = load(None, environ)
    assert (settings.kafka.group_id, settings.kafka.bootstrap_servers) == ("0123", None)
    assert (settings.kafka.sasl_username, settings.kafka.sasl_mechanism) == ("null", None)
    assert settings.monitoring.log_json is True
    assert (settings.state.idle_s, settings.state.snapshot_interval_s) == (None, 5.0)


@pytest.mark.parametrize("as_text", [yaml.safe_dump, json.dumps])
def test_arms_come_from_the_environment_as_one_text(as_text: Callable[[object], str]) -> None:
    """ECHORANK__ARMS replaces the list, given as YAML or JSON."""
    arms = [
        {"name": "a", "bundle": "out/a", "weight": 9000, "role": "live"},
        {"name": "b", "bundle": "out/b", "weight": 1000, "role": "live"},
        {"name": "c", "bundle": "out/c", "role": "shadow"},
    ]
    settings = load(None, {"ECHORANK__ARMS": as_text(arms)})
    assert [(arm.name, arm.weight, arm.role) for arm in settings.arms] == [
        ("a", 9000, "live"),
        ("b", 1000, "live"),
        ("c", 0, "shadow"),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("serving: {prt: 1}", "serving.prt: unknown setting; did you mean serving.port?"),
        ("servng: {port: 1}", "servng: unknown setting; did you mean serving?"),
        ("shards: 4", "shards: unknown setting; did you mean serving.shards?"),
        ("port: 4", "port: unknown setting; did you mean serving.port or monitoring.port?"),
        ("ray: {zzz: 1}", "ray.zzz: unknown setting; known here: address, namespace, cpus"),
        (
            "serving: {port: '50051'}",
            "serving.port: '50051' is not allowed; expected a whole number from 0 to 65535",
        ),
        (
            "serving: {port: 70000}",
            "serving.port: 70000 is not allowed; expected a whole number from 0 to 65535",
        ),
        (
            "serving: {queue_max: 0}",
            "serving.queue_max: 0 is not allowed; expected a whole number of at least 1",
        ),
        ("serving: 5", "serving: 5 is not allowed; expected a section with host, port,"),
        (
            "events: {format: avro}",
            "events.format: 'avro' is not allowed; expected protobuf or json",
        ),
        (
            "topics: {create: maybe}",
            "topics.create: 'maybe' is not allowed; expected true or false",
        ),
        (
            "state: {snapshot_interval_s: 0}",
            "state.snapshot_interval_s: 0 is not allowed; expected a number above 0",
        ),
        ("topics: {clicks: ''}", "topics.clicks: '' is not allowed; expected text, not empty"),
        (
            "topics: {dlq: clicks}",
            "topics: clicks, dlq and exposures must be three different topics",
        ),
        (
            "kafka: {security_protocol: SASL_SSL}",
            "kafka: security_protocol SASL_SSL needs kafka.sasl_mechanism, ",
        ),
        (
            "arms: []",
            "arms: weights of the live arms must sum to 10000, got 0 (there is no live arm)",
        ),
        ("arms: [{name: a}]", "arms[0].bundle: missing; expected text, not empty"),
        (
            "arms: [{name: a, bundle: b, weight: 5000, role: live}]",
            "arms: weights of the live arms must sum to 10000, got 5000 (a 5000)",
        ),
        (
            "arms: [{name: a, bundle: b, weight: 10000, role: live}, {name: a, bundle: c}]",
            "arms: arm names must differ, but a stands more than once",
        ),
        (
            "arms: [{name: a, bundle: b, weight: 1}]",
            "arms[0]: arm a is candidate and takes no traffic",
        ),
        ("serving: {port: 9464}", "serving.port and monitoring.port must differ, both are 9464"),
    ],
)
def test_each_mistake_gets_a_line_with_path_value_and_what_is_allowed(
    tmp_path: Path, text: str, line: str
) -> None:
    """One problem is one line, and it says how to do better."""
    message = problem(tmp_path, text)
    assert f"  {line}" in message
    assert message.splitlines()[0].endswith("ray_config.yaml: 1 problem(s)")


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    """Three mistakes in three sections give three lines."""
    message = problem(tmp_path, "ray: {cpus: 0}\nserving: {shard: 1}\nmonitoring: {port: -1}\n")
    assert [line.split(":")[0].strip() for line in message.splitlines()[1:]] == [
        "ray.cpus",
        "serving.shard",
        "monitoring.port",
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("serving: {port: [", "not valid YAML"),
        ("- a\n- b\n", "expected sections such as `serving:` at the top, got a list"),
        ("serving: {port: 1}\nserving: {port: 2}\n", "'serving' stands twice"),
    ],
)
def test_files_that_are_not_settings_are_refused(tmp_path: Path, text: str, part: str) -> None:
    """Broken YAML, a list and a repeated key name the file and the mistake."""
    message = problem(tmp_path, text)
    assert part in message
    assert "ray_config.yaml" in message


def test_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    """The message holds the command that writes the file."""
    with pytest.raises(ConfigError, match=r"echorank config print --out .*nowhere\.yaml"):
        load(tmp_path / "nowhere.yaml", {})


def test_mistakes_in_the_environment_name_the_variable() -> None:
    """A wrong value, an unknown name and a path into a list each name the variable."""
    assert "serving.port (ECHORANK__SERVING__PORT): 'x'" in environment_problem(
        ECHORANK__SERVING__PORT="x"
    )
    assert "did you mean serving.port?" in environment_problem(ECHORANK__SERVING__PRT="1")
    assert "ECHORANK__ARMS" in environment_problem(ECHORANK__ARMS="[]", ECHORANK__ARMS__NAME="a")
    assert "ECHORANK__RAY__CPUS: '[' is not a YAML value" in environment_problem(
        ECHORANK__RAY__CPUS="["
    )


def test_printed_settings_load_to_the_same_settings(tmp_path: Path) -> None:
    """`config print` of changed settings is a file that gives them back."""
    settings = load(
        None, {"ECHORANK__SERVING__SHARDS": "7", "ECHORANK__EVENTS__FIELDS__TIME": "a: b # c"}
    )
    file = tmp_path / "printed.yaml"
    file.write_text(to_yaml(settings))
    assert load(file, {}) == settings


def test_settings_are_frozen() -> None:
    """Nothing changes settings after they are loaded."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().serving.port = 1


def test_port_zero_may_stand_twice() -> None:
    """0 means any free port, so both servers may have it."""
    settings = load(None, {"ECHORANK__SERVING__PORT": "0", "ECHORANK__MONITORING__PORT": "0"})
    assert settings.serving.port == settings.monitoring.port == 0
