"""What can be set, and what can go wrong, is in the documentation."""

import types
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from berth.adapters.prometheus_metrics import PrometheusMetrics
from berth.config import Config
from berth.rpc.options import CACHE_TYPE, HEADERS, ORGANIZATION, PROJECT
from berth.rpc.status import TABLE

README = (Path(__file__).parent.parent / "README.md").read_text()


def sections(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the models that stand anywhere in a type."""
    if (
        isinstance(annotation, type)
        and issubclass(annotation, BaseModel)
        and not isinstance(annotation, types.GenericAlias)
    ):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from sections(argument)


def settings(model: type[BaseModel]) -> Iterator[str]:
    """Yield the names of all settings that have no settings below them."""
    for name, field in model.model_fields.items():
        below = list(sections(field.annotation))
        if not below:
            yield name
        for section in below:
            yield from settings(section)


@pytest.mark.parametrize("name", sorted(set(settings(Config))))
def test_a_setting_is_documented(name: str) -> None:
    """Every setting stands in the README, by its name."""
    assert f"`{name}`" in README or f".{name}`" in README


@pytest.mark.parametrize("code", sorted({row.code for row in TABLE.values() if row.code}))
def test_an_error_is_documented(code: str) -> None:
    """Every code that an error has by itself stands in the README."""
    assert f"`{code}`" in README


@pytest.mark.parametrize("header", sorted(HEADERS - {CACHE_TYPE, ORGANIZATION, PROJECT}))
def test_a_header_is_documented(header: str) -> None:
    """Every header that asks for something stands in the README."""
    assert f"`{header}`" in README


@pytest.mark.parametrize("name", sorted(PrometheusMetrics().names()))
def test_a_metric_is_documented(name: str) -> None:
    """Every metric stands in the README."""
    assert f"`{name}`" in README
