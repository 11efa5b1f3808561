"""Texts and secrets among the settings: taken as they are written, and no secret is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import ConfigError
from cluster.kafka.access import KafkaAccess
from cluster.operate.replay.run import Order
from cluster.settings.config import Settings, load
from cluster.settings.docs import to_yaml
from cluster.settings.stream import KafkaSettings

TOKEN = "ECHORANK__SERVING__ADMIN_TOKEN"
PASSWORD = "ECHORANK__KAFKA__SASL_PASSWORD"
SECRET = "s3cret"
ODD = [
    "#s3cret", "&s3cret", "&s3cret x", "---", "@s3cret", "!s3cret", "!s3cret! x", "*s3cret",
    "%s3cret", "`s3cret", "{s3cret", "[s3cret", '"s3cret', "'s3cret", "|", ">", "s3cret: y: z",
    "- s3cret", "? s3cret", "null", "~", "yes", "0123", "1e3", "0x10", "12:30", "2024-01-31",
    "=", "<<", "s3cret #", "''", '""',
]  # fmt: skip


def refusal(tmp_path: Path, text: str = "", **environ: str) -> str:
    """The message with which a file of this text, or these variables, are refused."""
    (tmp_path / "ray_config.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "ray_config.yaml", environ)
    return str(caught.value)


@pytest.mark.parametrize("text", ODD)
def test_text_from_the_environment_is_itself(text: str) -> None:
    """Whatever YAML would make of it, a secret,
    a name and a nullable text are the variable's characters.
    """
    environ = {
        TOKEN: text,
        PASSWORD: text,
        "ECHORANK__KAFKA__GROUP_ID": text,
        "ECHORANK__KAFKA__SASL_USERNAME": text,
    }
    settings = load(None, environ)
    assert settings.serving.admin_token == settings.kafka.sasl_password == text
    assert settings.kafka.group_id == settings.kafka.sasl_username == text


@pytest.mark.parametrize("value", ["", "*", "********"])
@pytest.mark.parametrize(
    ("variable", "path"), [(TOKEN, "serving.admin_token"), (PASSWORD, "kafka.sasl_password")]
)
def test_secrets_that_are_none_are_refused(
    tmp_path: Path, variable: str, path: str, value: str
) -> None:
    """Emptiness would open Admin to everybody, and stars are what a print once left:
    neither is taken for a secret.
    """
    assert f"{path} ({variable}): is " in refusal(tmp_path, **{variable: value})
    section, name = path.split(".")
    assert f"  {path}: is " in refusal(tmp_path, f"{section}: {{{name}: '{value}'}}")


@pytest.mark.parametrize("token", [" tok", "tok\n", "t\u00f6k", " "])
def test_tokens_that_no_call_can_carry_are_refused(tmp_path: Path, token: str) -> None:
    """gRPC's metadata is printable ASCII, without blanks at its ends."""
    assert "cannot be sent by gRPC" in refusal(tmp_path, **{TOKEN: token})


@pytest.mark.parametrize("value", ["#s3cret", "&s3cret", ""])
def test_a_secret_in_the_file_that_yaml_drops_is_refused(tmp_path: Path, value: str) -> None:
    """A value that YAML takes for a comment or an anchor leaves nothing,
    which is not the same as null.
    """
    text = f"serving:\n  admin_token: {value}\n"
    message = refusal(tmp_path, text)
    assert (
        "serving.admin_token: has no value; write null for none, and put a text that begins with "
        "# or &"
    ) in message
    (tmp_path / "ray_config.yaml").write_text("serving:\n  admin_token: null\n")
    assert load(tmp_path / "ray_config.yaml", {}).serving.admin_token is None


@pytest.mark.parametrize(
    "value",
    ["@s3cret", "!s3cret", "!s3cret! x", "*s3cret", "%s3cret", "`s3cret", "{s3cret", "[s3cret",
     '"s3cret', "'s3cret", "s3cret: y: z", "{s3cret: 1}", "[s3cret]", "'s3cret' s3cret", "|s3cret",
     "\ts3cret", "&a s3cret: *b", "&s3cret"],
)  # fmt: skip
def test_no_secret_of_the_file_is_in_a_message(tmp_path: Path, value: str) -> None:
    """Broken YAML, a tag, an anchor and a value of another type say where
    and what to do, and quote nothing.
    """
    message = refusal(tmp_path, f"kafka:\n  group_id: x\n  sasl_password: {value}\n")
    assert SECRET not in message
    assert "line 3" in message or "kafka.sasl_password" in message
    assert "quotes" in message or "expected text" in message


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ECHORANK__KAFKA", "{sasl_password: @s3cret}"),
        ("ECHORANK__KAFKA", "s3cret"),
        ("ECHORANK__KAFKA", "[s3cret]"),
        ("ECHORANK__SERVING__ADMIN_TOKN", "@s3cret"),
        ("ECHORANK__ADMIN_TOKEN", "s3cret"),
        ("ECHORANK_SERVING__ADMIN_TOKEN", "s3cret"),
        ("ECHORANK__SERVING__ADMIN_TOKEN__X", "s3cret"),
        ("ECHORANK__ARMS", "[{s3cret"),
    ],
)
def test_no_secret_of_the_environment_is_in_a_message(
    tmp_path: Path, variable: str, value: str
) -> None:
    """A section as one variable and a misspelt name are refused by
    name; the value may be a secret.
    """
    message = refusal(tmp_path, **{variable: value})
    assert SECRET not in message
    assert variable in message


def test_secrets_are_in_no_print_and_no_repr(tmp_path: Path) -> None:
    """A print leaves them out and says so, and is a file that loads; --secrets prints them."""
    settings = load(None, {PASSWORD: "@hunter2", TOKEN: "#hunter2"})
    access = KafkaAccess(bootstrap_servers="a:1", sasl_password="hunter2")
    for text in (
        repr(settings),
        str(settings),
        to_yaml(settings),
        repr(access),
        repr(Order(partition=0, token="hunter2")),
    ):
        assert "hunter2" not in text
    assert "# admin_token is set and left out here: set ECHORANK__SERVING__ADMIN_TOKEN" in to_yaml(
        settings
    )
    (tmp_path / "printed.yaml").write_text(to_yaml(settings))
    assert load(tmp_path / "printed.yaml", {PASSWORD: "@hunter2", TOKEN: "#hunter2"}) == settings
    (tmp_path / "printed.yaml").write_text(to_yaml(settings, secrets=True))
    assert load(tmp_path / "printed.yaml", {}) == settings


@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
        lambda text: text.strip("*")
    )
)
def test_any_text_survives_printing(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Line breaks, colons, control characters: what is printed loads to the same text."""
    settings = Settings(kafka=KafkaSettings(group_id=text, sasl_password=text))
    file = tmp_path_factory.mktemp("printed") / "ray_config.yaml"
    file.write_text(to_yaml(settings, secrets=True), encoding="utf-8", newline="")
    assert load(file, {}) == settings


@pytest.mark.parametrize(
    ("section", "name", "value", "kind"),
    [
        ("kafka", "group_id", "yes", "true or false"),
        ("kafka", "group_id", "007", "a number"),
        ("ray", "namespace", "0x10", "a number"),
        ("topics", "clicks", "12:30", "a number"),
        ("topics", "clicks", "2024-01-31", "a date"),
        ("topics", "clicks", "2024-99-31", "a date"),
        ("topics", "dlq", "1.5", "a number"),
        ("topics", "dlq", "=", "something else than text"),
        ("kafka", "sasl_username", "off", "true or false"),
        ("topics", "exposures", "~", "nothing"),
        ("monitoring", "log_level", "no", "true or false"),
    ],
)
def test_texts_that_yaml_reads_as_something_else_want_quotes(
    tmp_path: Path, section: str, name: str, value: str, kind: str
) -> None:
    """Nothing is retyped in silence: one line says what YAML made of it and how to write it."""
    line = f"  {section}.{name}: YAML reads {value} as {kind}; put it in quotes: '{value}'"
    assert refusal(tmp_path, f"{section}: {{{name}: {value}}}").splitlines()[1:2] == [line]
    assert line.replace(f"{section}.{name}", f"{section}.{name}") in refusal(
        tmp_path, **{f"ECHORANK__{section.upper()}": f"{{{name}: {value}}}"}
    )


def test_texts_in_lists_and_inner_sections_want_quotes_too(tmp_path: Path) -> None:
    """An arm called `on` and a field called 1 are named by their places;
    a secret's value is not shown.
    """
    assert "arms[0].name: YAML reads on as true or false" in refusal(
        tmp_path, "arms: [{name: on, bundle: out/b}]"
    )
    assert "events.fields.user: YAML reads 1 as a number" in refusal(
        tmp_path, "events: {fields: {user: 1}}"
    )
    message = refusal(tmp_path, "kafka: {sasl_password: 4711}")
    assert "kafka.sasl_password: YAML reads it as a number; put it in quotes" in message
    assert "4711" not in message


@pytest.mark.parametrize("value", ["050051", "12:30", "00"])
def test_numbers_in_another_base_are_refused(tmp_path: Path, value: str) -> None:
    """YAML 1.1 reads a leading zero in base 8 and colons in base 60;
    nobody means a port that way.
    """
    line = (
        f"  serving.port: {value} is not allowed; expected a whole number from 0 to 65535, in "
        "base 10"
    )
    assert line in refusal(tmp_path, f"serving: {{port: {value}}}")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (
            "serving: {port: 1}\nserving: {port: 2}\n",
            "'serving' stands twice, the second time in line 2, column 1",
        ),
        ("serving:\n  port: 1\n  'port': 2\n", "'port' stands twice, the second time in line 3"),
        ("x: &x {port: 1}\nserving: {<<: *x, shards: 1, shards: 2}\n", "'shards' stands twice"),
    ],
)
def test_keys_that_stand_twice_are_refused(tmp_path: Path, text: str, part: str) -> None:
    """One of the two would be dropped; it does not matter how they are quoted or what is merged."""
    assert part in refusal(tmp_path, text)


def test_a_merged_key_may_be_overridden(tmp_path: Path) -> None:
    """`<<` brings defaults, which the mapping itself overrides,
    as YAML has it; a chain of them too.
    """
    file = tmp_path / "ray_config.yaml"
    file.write_text(
        "arms:\n"
        "  - &a {name: a, bundle: out/a, weight: 5000, role: live}\n"
        "  - &b {<<: *a, name: b}\n"
        "  - {<<: *b, name: c, weight: 0, role: shadow}\n"
        "  - {<<: [*b, *a], name: d, weight: 0, role: shadow}\n"
    )
    arms = load(file, {}).arms
    assert [(arm.name, arm.bundle, arm.weight) for arm in arms] == [
        ("a", "out/a", 5000), ("b", "out/a", 5000), ("c", "out/a", 0), ("d", "out/a", 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["[" * 5000, "serving: &a {x: *a}", "serving: {port: " + "1" * 5000 + "}", "\x07",
     "serving: {port: !!bool x}", "ray: {cpus: !!timestamp x}",
     "ray: {[a]: b}", "ray: {<<: 5}", "arms: [null]"],
)  # fmt: skip
def test_hostile_files_are_a_message(tmp_path: Path, text: str) -> None:
    """Nesting without end, a mapping inside itself,
    a number of thousands of digits: no traceback.
    """
    assert "ray_config.yaml" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("ECHORANK_KAFKA__BOOTSTRAP_SERVERS", "ECHORANK__KAFKA__BOOTSTRAP_SERVERS"),
        ("ECHORANK_KAFKA_BOOTSTRAP_SERVERS", "ECHORANK__KAFKA__BOOTSTRAP_SERVERS"),
        ("ECHORANK_KAFKA_BOOTSTRAP_SERVER", "ECHORANK__KAFKA__BOOTSTRAP_SERVERS"),
        ("ECHORANK__KAFKA_BOOTSTRAP_SERVERS", "ECHORANK__KAFKA__BOOTSTRAP_SERVERS"),
        ("echorank__serving__port", "ECHORANK__SERVING__PORT"),
        ("ECHORANK_NONSENSE__X", "ECHORANK__SERVING__PORT"),
        ("ECHORANK__SERVING__PRT", "ECHORANK__SERVING__PORT"),
        ("ECHORANK___SERVING__PORT", "ECHORANK__SERVING__PORT"),
    ],
)
def test_variables_that_would_set_nothing_are_refused(
    tmp_path: Path, variable: str, meant: str
) -> None:
    """Too few underscores, small letters, a typo: the message names the variable that is meant."""
    message = refusal(tmp_path, **{variable: "1"})
    assert variable in message
    assert meant in message


def test_variables_of_others_are_left_alone() -> None:
    """Kubernetes puts a service's address into each pod; a cache has its own variable."""
    environ = {
        "ECHORANK_SERVICE_HOST": "10.0.0.1",
        "ECHORANK_SERVICE_PORT": "50051",
        "ECHORANK_PORT_50051_TCP": "tcp://10.0.0.1:50051",
        "ECHORANK_SERVING_PORT": "tcp://10.0.0.1:50051",
        "ECHORANK_CACHE": "/tmp",
        "ECHO": "1",
    }
    assert load(None, environ) == Settings()


def test_two_variables_for_one_setting_are_refused(tmp_path: Path) -> None:
    """Which of them counts would depend on their order."""
    message = refusal(tmp_path, ECHORANK__SERVING__PORT="1", ECHORANK__Serving__Port="2")
    assert "set the same setting" in message
