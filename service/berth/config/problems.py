"""Describes the problems of a configuration, one line each, beginning with the name of the setting."""

from collections.abc import Iterator, Mapping
from inspect import isclass
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from berth.config.sources import PREFIX, SEPARATOR, SettingPath
from berth.core.validation import did_you_mean

# By pydantic's error type. For other types pydantic's own message is used.
_MESSAGES = {
    "invalid": "{reason}",
    "missing": "is missing",
    "string_type": "must be text",
    "string_too_short": "is empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must not have control characters",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a map",
    "model_type": "must be a map",
    "tuple_type": "must be a list",
    "timezone_aware": "must have a time zone, such as 2030-01-01T00:00:00Z",
    "datetime_type": "must be a time, such as 2030-01-01T00:00:00Z",
    "datetime_parsing": "must be a time, such as 2030-01-01T00:00:00Z",
    "datetime_from_date_parsing": "must be a time, such as 2030-01-01T00:00:00Z",
    "path_type": "must be a path",
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}


def describe_problems(
    error: ValidationError, *, model: type[BaseModel], origins: Mapping[SettingPath, str]
) -> list[str]:
    """Return a line for each problem; `origins` maps settings to the environment variables that set them."""
    return [_describe(detail, model, origins) for detail in error.errors()]


def _describe(detail: ErrorDetails, model: type[BaseModel], origins: Mapping[SettingPath, str]) -> str:
    path = tuple(part for part in detail["loc"] if part != "[key]")
    source = _source(path, origins)
    if detail["type"] == "extra_forbidden":
        return f"unknown setting '{_format(path)}'{source}{_hint(path, model, is_variable=bool(source))}"
    reason = _MESSAGES.get(detail["type"], detail["msg"]).format(**detail.get("ctx", {}))
    return f"{_format(path)}{source}: {reason}"


def _format(path: SettingPath) -> str:
    """Return a path in the notation `auth.virtual_keys[0].name`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")


def _source(path: SettingPath, origins: Mapping[SettingPath, str]) -> str:
    for origin, variable in origins.items():
        if path[: len(origin)] == origin or origin[: len(path)] == path:
            return f" (from {variable})"
    return ""


def _hint(path: SettingPath, model: type[BaseModel], *, is_variable: bool) -> str:
    """Return a hint for an unknown setting: the full path of the most similar setting in the same section.

    If the name has dots, as in the documents, the hint is the same setting as nested maps. If it has `_` between a
    section and a setting, the hint is that setting, or the variable of it.
    """
    known = list(_section(path[:-1], model).model_fields)
    section, *inner = str(path[-1]).split(".")
    if inner and section in known:
        return f"; did you mean '{section}: {_nested(inner)}'?"
    meant = next(_with_sections(path, model), None)
    if meant is not None:
        variable = PREFIX + SEPARATOR.join(map(str, meant)).upper()
        return f"; did you mean {variable if is_variable else repr(_format(meant))}?"
    formatted = {_format((*path[:-1], name)): name for name in known}
    return did_you_mean(_format(path), list(formatted))


def _with_sections(path: SettingPath, model: type[BaseModel]) -> Iterator[SettingPath]:
    """Yield the paths of which the last two parts, joined by `_`, are the last part of `path`."""
    outer = _section(path[:-1], model)
    for section in outer.model_fields:
        inner = _section((section,), outer)
        for name in inner.model_fields:
            if inner is not outer and f"{section}_{name}" == path[-1]:
                yield (*path[:-1], section, name)


def _nested(names: list[str]) -> str:
    """Return `names` as nested maps of YAML, without the value: `{ollama: {backend: …}}`."""
    return f"{{{names[0]}: {_nested(names[1:]) if names[1:] else '…'}}}"


def _section(path: SettingPath, model: type[BaseModel]) -> type[BaseModel]:
    for part in path:
        field = model.model_fields.get(str(part))
        model = (_model_in(field.annotation) if field else None) or model
    return model


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in found if model), None)
