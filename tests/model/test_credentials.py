"""What of a URI may be shown."""

from __future__ import annotations

import pytest

from model.credentials import shown

SECRET = "sEcReT"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (f"s3://key:{SECRET}@bucket/path", "s3://bucket/path"),
        (f"s3://key:{SECRET}/with+slash@bucket/path", "s3://bucket/path"),
        (f"s3://key:{SECRET}@{SECRET}@bucket/a@b", "s3://bucket/a@b"),
        (f"https://{SECRET}@host/x", "https://host/x"),
        (
            f"s3://b/p?access_key={SECRET}&secret_key={SECRET}&region=eu",
            "s3://b/p?access_key=***&secret_key=***&region=eu",
        ),
        (f"s3://b/p?region=eu&SessionToken={SECRET}", "s3://b/p?region=eu&SessionToken=***"),
        (f"abfs://c@a.host/p?sig={SECRET}&se=2026", "abfs://a.host/p?sig=***&se=2026"),
        (
            f"cannot read 's3://b/p?secret_key={SECRET}': denied",
            "cannot read 's3://b/p?secret_key=***': denied",
        ),
        (f"first s3://a:{SECRET}@b/c, then s3://d:{SECRET}@e/f", "first s3://b/c, then s3://e/f"),
        ("s3://bucket/path?region=eu-west-1&endpoint_override=http://h:9000", None),
        ("/mnt/a:b@c/d", None),
        ("hdfs://namenode:8020/archive", None),
        ("kafka-1:9092 answers user@host", None),
    ],
)
def test_credentials_are_hidden_and_nothing_else(text: str, wanted: str | None) -> None:
    """Before the host and among the parameters, in a URI by itself or inside a message."""
    assert shown(text) == (text if wanted is None else wanted)
    assert SECRET not in shown(text)
