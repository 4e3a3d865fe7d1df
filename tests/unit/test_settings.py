"""Settings: defaults, parsing, refusals, and that the README tells of each."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from gateway.settings import PREFIX, Settings, SettingsError, table

README = Path(__file__).parents[2] / "README.md"


def test_an_empty_environment_gives_the_defaults():
    assert Settings.from_env({}) == Settings()


def test_values_are_typed():
    settings = Settings.from_env(
        {
            "MASQUERADE_URL_TTL": "60",
            "MASQUERADE_MODEL_TIMEOUT": "1.5",
            "MASQUERADE_S3_BUCKET": "b",
            "HOME": "/",
        }
    )
    assert (settings.url_ttl, settings.model_timeout, settings.s3_bucket) == (60, 1.5, "b")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MASQUERADE_URL_TTL", "soon"),
        ("MASQUERADE_URL_TTL", "0"),
        ("MASQUERADE_JOB_RETRIES", "-1"),
        ("MASQUERADE_DETECT_THRESHOLD", "1.5"),
        ("MASQUERADE_MODEL_TIMEOUT", "nan"),
        ("MASQUERADE_NO_SUCH_THING", "1"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(name, value):
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({name: value})


def test_a_refusal_says_what_is_taken():
    with pytest.raises(SettingsError, match=r"life of a presigned URL, in s, default 3600"):
        Settings.from_env({"MASQUERADE_URL_TTL": "x"})


def test_a_deadline_ends_what_waits_for_a_model_and_the_model_server_all_else():
    settings = Settings()
    assert settings.model_timeout >= max(settings.image_deadline, settings.drawing_deadline)
    configs = list((README.parent / "model_store").glob("*/model-config.yaml"))
    assert configs
    for config in configs:
        (told,) = re.findall(r"^responseTimeout: (\d+)$", config.read_text(), re.MULTILINE)
        assert settings.model_timeout >= int(told), config.parent.name


def test_every_setting_has_a_unit_and_a_meaning():
    for field in fields(Settings):
        assert field.metadata["unit"], field.name
        assert field.metadata["meaning"], field.name


def test_the_table_has_one_row_for_each_setting():
    rows = table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [
        PREFIX + f.name.upper() for f in fields(Settings)
    ]


def test_the_readme_has_the_table():
    assert table() in README.read_text()
