"""Reads the YAML file of the configuration, strictly, and reports problems without quoting the file."""

import re
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar

import yaml

from berth.config.files import MAX_CONFIGURATION_BYTES, UnreadableError, expand_home, read_file
from berth.config.sources import MAX_DEPTH, ConfigError, Settings

_CLOSED = (yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken, yaml.DocumentEndToken)
"""Tokens that are complete without a following character."""
_INVISIBLE = (yaml.StreamStartToken, yaml.StreamEndToken, yaml.BlockEndToken)
"""Tokens without text of their own."""
_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_NOT_DECIMAL = re.compile(r"[-+]?0[0-9_]+|.*:.*")
"""Numbers that YAML 1.1 reads as octal (020) or as sexagesimal (1:30)."""
_QUOTED = re.compile(r"'(?!<)[^']{2,}'|\"(?!<)[^\"]{2,}\"")


class _Loader(yaml.SafeLoader):
    """A YAML loader that rejects repeated keys, of which PyYAML would use the last one, and deep nesting.

    Octal and sexagesimal numbers remain text, which the settings reject. `last` is the last token with text.
    """

    last: yaml.Token | None = None
    _depth = 0

    def get_token(self) -> Any:
        token = super().get_token()  # type: ignore[no-untyped-call]
        if not isinstance(token, _INVISIBLE):
            self.last = token
        return token

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self._depth >= MAX_DEPTH:
            raise yaml.YAMLError(f"it is nested deeper than {MAX_DEPTH} levels")
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:  # noqa: FBT001, FBT002 - PyYAML's
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for name, count in names.items():
            if count > 1:
                raise yaml.YAMLError(f"the setting '{name}' is given twice")
        return super().construct_mapping(node, deep)

    def _construct_int(self, node: yaml.ScalarNode) -> object:
        text = self.construct_scalar(node)
        return text if _NOT_DECIMAL.fullmatch(str(text)) else self.construct_yaml_int(node)

    def _construct_float(self, node: yaml.ScalarNode) -> object:
        text = self.construct_scalar(node)
        return text if ":" in str(text) else self.construct_yaml_float(node)

    yaml_constructors: ClassVar[dict[str | None, Any]] = {
        **yaml.SafeLoader.yaml_constructors,
        _INT: _construct_int,
        _FLOAT: _construct_float,
    }


def read_settings(path: Path, *, only_regular: bool, require_end: bool) -> Settings:
    """Read a YAML file. A null setting counts as not set.

    Raises ConfigError if it cannot be read or is not a map, with `only_regular` if it is a pipe or a device, and with
    `require_end` if it ends in the middle of a value.
    """
    try:
        content = read_file(Path(expand_home(str(path))), max_bytes=MAX_CONFIGURATION_BYTES, only_regular=only_regular)
        text = content.decode()
        settings, is_cut = _parse(text)
    except UnreadableError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the configuration file {path} is not YAML: it is not UTF-8") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"the configuration file {path} is not YAML: {_describe(error)}") from None
    if require_end and is_cut:
        raise ConfigError(
            f"the configuration file {path} ends in the middle of a value and may be cut; end it with a newline"
        )
    if not isinstance(settings, dict | None):
        raise ConfigError(f"the configuration file {path} is not a map of settings")
    return {str(name): value for name, value in (settings or {}).items() if value is not None}


def _parse(text: str) -> tuple[object, bool]:
    """Return the content of a YAML text, and whether the text may have been cut in the middle of a value."""
    loader = _Loader(text)
    try:
        return loader.get_single_data(), _is_cut(text, loader.last)
    except (ValueError, KeyError, AttributeError, TypeError):
        # The date 2030-13-01, or !!bool before something else.
        raise yaml.YAMLError("a value does not have the form of its type") from None
    finally:
        loader.dispose()


def _is_cut(text: str, last: yaml.Token | None) -> bool:
    """Return whether nothing shows the end of the last value: no newline, comment, bracket or quotation mark."""
    if last is None or isinstance(last, _CLOSED) or text[last.end_mark.index :].strip(" \t"):
        return False
    is_quoted = isinstance(last, yaml.ScalarToken) and last.style in {"'", '"'}
    return not (is_quoted or text.endswith("\n"))


def _describe(error: yaml.YAMLError) -> str:
    """Return the message of an error without text of the file, which may be a secret."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    parts = [_QUOTED.sub("'…'", part) for part in (error.context, error.problem) if part]
    return ", ".join([*parts, where])
