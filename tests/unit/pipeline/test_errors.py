"""Tests that errors do not show the passwords in URIs."""

import pytest

from pipeline.errors import PipelineError, without_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:secret@host:5432/db", "postgresql://***@host:5432/db"),
        ("postgresql://u:pa/ss@host/db", "postgresql://***@host/db"),
        ("postgresql://u:12/ss@host/db", "postgresql://***@host/db"),
        ("postgresql://u:p@ss/w@rd@host/db", "postgresql://***@host/db"),
        ("postgresql://u:p?#s@host/db", "postgresql://***@host/db"),
        ("postgresql+psycopg2://:secret@host/db", "postgresql+psycopg2://***@host/db"),
        ("https://TOKEN@host/mlflow", "https://***@host/mlflow"),
        ("https://TOKEN@host:5000/a/b", "https://***@host:5000/a/b"),
        ("postgresql://host/db?user=u&password=secret", "postgresql://host/db?user=u&password=***"),
        ("postgresql://host/db?password=secret&user=u", "postgresql://host/db?password=***&user=u"),
        ("postgresql://host/db?sslPassword=secret", "postgresql://host/db?sslPassword=***"),
        ("--uri 'postgresql://host/db?u=u&password=secret' --trials 3",
         "--uri 'postgresql://host/db?u=u&password=***' --trials 3"),
        ("http://a:secret@b/c or http://d:secret@e", "http://***@b/c or http://***@e"),
    ],
)  # fmt: skip
def test_passwords_are_not_shown(text: str, shown: str) -> None:
    assert without_passwords(text) == shown
    assert str(PipelineError(f"cannot open {text}: no")) == f"cannot open {shown}: no"


@pytest.mark.parametrize(
    "text",
    [
        "http://host:5000/mlflow",
        "sqlite:////x/mlflow.db",
        "s3://bucket/a@b/sweeps",
        "models:/vit-digits@champion, see http://host:5000",
        "file:///home/me@work/sweeps",
        "mail me@host about --password=3",
    ],
)
def test_what_is_no_password_stays(text: str) -> None:
    assert without_passwords(text) == text
