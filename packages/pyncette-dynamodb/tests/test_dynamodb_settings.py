"""Options are checked when they are passed, before anything connects."""

from __future__ import annotations

from typing import Any

import pytest

from pyncette import Pyncette
from pyncette.dynamodb import backend, dynamodb_repository


@pytest.mark.parametrize(
    "option, value, error, says",
    [
        ("dynamodb_endpoint", 8000, TypeError, "must be text"),
        ("dynamodb_endpoint", "127.0.0.1:8000", ValueError, "'http://127.0.0.1:8000'"),
        ("dynamodb_endpoint", "http://", ValueError, "such as"),
        ("dynamodb_endpoint", "http://127.0.0.1:port", ValueError, "such as"),
        ("dynamodb_endpoint", "http://127.0.0.1:99999", ValueError, "such as"),
        ("dynamodb_endpoint", "http://127.0.0.1:0", ValueError, "such as"),
        ("dynamodb_endpoint", "http://127.0.0.1:8000/path", ValueError, "without user, path"),
        ("dynamodb_endpoint", "http://127.0.0.1:8000?a=b", ValueError, "without user, path"),
        ("dynamodb_endpoint", "ftp://127.0.0.1:8000", ValueError, "such as"),
        ("dynamodb_region_name", 1, TypeError, "must be text"),
        ("dynamodb_region_name", "", ValueError, "such as 'eu-west-1'"),
        ("dynamodb_region_name", "Ireland!", ValueError, "such as 'eu-west-1'"),
        ("dynamodb_table_name", None, TypeError, "must be text"),
        ("dynamodb_table_name", "", ValueError, "3 to 255"),
        ("dynamodb_table_name", "ab", ValueError, "3 to 255"),
        ("dynamodb_table_name", 'tasks" WHERE', ValueError, "3 to 255"),
        ("dynamodb_table_name", "aufträge", ValueError, "3 to 255"),
        ("dynamodb_table_name", "tasks\n", ValueError, "3 to 255"),
        ("dynamodb_table_name", "x" * 256, ValueError, "3 to 255"),
        ("dynamodb_skip_table_create", "no", TypeError, "True or False"),
        ("dynamodb_partition_prefix", None, TypeError, "must be text"),
        ("dynamodb_partition_prefix", "x" * 256, ValueError, "255 bytes"),
        ("dynamodb_partition_prefix", "ä" * 128, ValueError, "it has 256"),
        ("dynamodb_partition_prefix", "a\0b", ValueError, "NUL"),
        ("dynamodb_partition_prefix", "\ud800", ValueError, "surrogate"),
    ],
)
def test_invalid_options(option: str, value: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=f"{option}.*{says}|{says}.*{option}"):
        dynamodb_repository(**{option: value})


def test_secrets_are_not_repeated() -> None:
    with pytest.raises(ValueError, match="dynamodb_endpoint") as refused:
        dynamodb_repository(dynamodb_endpoint="http://user:secret@host")
    assert "secret" not in str(refused.value)
    for url in ("dynamodb://key:secret@eu-west-1/tasks", "dynamodb://eu-west-1:secret/tasks"):
        with pytest.raises(ValueError, match="dynamodb://region/table") as refused:
            backend.options_from_url(url)
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url, options",
    [
        ("dynamodb://eu-west-1/tasks", {"dynamodb_region_name": "eu-west-1", "dynamodb_table_name": "tasks"}),
        ("dynamodb:///tasks", {"dynamodb_table_name": "tasks"}),
        ("dynamodb://eu-west-1", {"dynamodb_region_name": "eu-west-1"}),
        ("dynamodb://us-gov-west-1/", {"dynamodb_region_name": "us-gov-west-1"}),
        ("dynamodb://", {}),
        (
            "dynamodb://local/my.tasks_1-a?endpoint=http://127.0.0.1:8000&partition_prefix=the%20app",
            {
                "dynamodb_region_name": "local",
                "dynamodb_table_name": "my.tasks_1-a",
                "dynamodb_endpoint": "http://127.0.0.1:8000",
                "dynamodb_partition_prefix": "the app",
            },
        ),
    ],
)
def test_urls(url: str, options: dict[str, str]) -> None:
    assert backend.options_from_url(url) == options
    dynamodb_repository(**options)  # type: ignore[arg-type]  # all values of a URL are text


@pytest.mark.parametrize(
    "url",
    [
        "dynamodb://eu-west-1/a/b",
        "dynamodb://eu-west-1:8000/tasks",
        "dynamodb://eu_west/tasks",
        "dynamodb://eu-west-1/tasks?endpont=http://127.0.0.1",
        "dynamodb://eu-west-1/tasks?endpoint=http://a&endpoint=http://b",
        "dynamodb://eu-west-1/tasks#part",
    ],
)
def test_invalid_urls(url: str) -> None:
    with pytest.raises(ValueError, match=r"can't be understood.*dynamodb://region/table"):
        backend.options_from_url(url)


def test_a_misspelt_option_is_an_error() -> None:
    with pytest.raises(TypeError, match="dynamodb_table_name"):
        Pyncette("dynamodb://eu-west-1/tasks", dynamodb_tabel_name="tasks")
