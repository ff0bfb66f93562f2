"""TOML text with places: what stands in a file, and in which line. Knows no section and no key."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from treadle.errors import FormatError

Key = tuple[str, ...]
"""A section and a key: ``("data", "batch")``, ``("data", "augment", "flip")``."""
HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?$")
ENTRY = re.compile(r"""\s*([\w-]+|"[^"]*"|'[^']*')\s*=""")
BARE = re.compile(r"[A-Za-z0-9_-]+")
ESCAPES = {'"': '\\"', "\\": "\\\\"}


def read_toml(path: Path) -> tuple[dict[str, Any], dict[Key, str]]:
    """A file's values, and for each section and key where it stands, as messages say it.

    Raises:
        FormatError: it is no TOML file.
        FileNotFoundError: it is not there.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is no TOML file: {error}") from None
    return values, {key: f"{path}, line {line}" for key, line in lines_of(text).items()}


def lines_of(text: str) -> dict[Key, int]:
    """In which line of a TOML file each section and key stands."""
    found: dict[Key, int] = {}
    section: Key = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header, entry = HEADER.match(line), ENTRY.match(line)
        if header:
            section = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            found.setdefault(section, number)
        elif entry:
            found.setdefault((*section, entry[1].strip("\"'")), number)
    return found


def parsed_override(text: str) -> tuple[Key, Any]:
    """The key and value of ``section.key=value``. The value is TOML; what is none is text.

    Raises:
        FormatError: there is no section, key or value.

    >>> parsed_override("optimizer.rate=0.1"), parsed_override("model.name=lenet")
    ((('optimizer', 'rate'), 0.1), (('model', 'name'), 'lenet'))
    """
    where, equals, value = text.partition("=")
    key = tuple(part.strip() for part in where.split("."))
    if not equals or len(key) < 2 or not all(key):
        raise FormatError(f"--set {text}: expected section.key=value, as in --set optimizer.rate=0.001")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value.strip()


def with_overrides(
    values: Mapping[str, Any], places: Mapping[Key, str], overrides: Iterable[tuple[Key, Any]]
) -> tuple[dict[str, Any], dict[Key, str]]:
    """Values with others put in their place."""
    changed = deepcopy(dict(values))
    told = dict(places)
    for key, value in overrides:
        place = f"--set {'.'.join(key)}={value}"
        inside: Any = changed
        for part in key[:-1]:
            inside = inside.setdefault(part, {})
            if not isinstance(inside, dict):
                raise FormatError(f"{place}: {part} is no section")
        inside[key[-1]] = value
        told[key] = place
    return changed, told


def toml_text(sections: Mapping[str, Any]) -> str:
    """Sections of plain values as a TOML file."""
    return "\n".join(_section((name,), values) for name, values in sections.items() if values)


def _section(path: Key, values: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    inner = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    lines = [f"[{'.'.join(map(_key, path))}]", *(f"{_key(key)} = {_value(x)}" for key, x in plain.items())]
    return "\n".join(["\n".join(lines) + "\n", *(_section((*path, key), x) for key, x in inner.items())])


def _key(name: str) -> str:
    return name if BARE.fullmatch(name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return '"' + "".join(ESCAPES.get(c) or (c if c.isprintable() else _numbered(c)) for c in value) + '"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    raise FormatError(f"a {type(value).__name__} cannot be written into a recipe: {value!r}")


def _numbered(character: str) -> str:
    """A character that has no other spelling."""
    return f"\\U{ord(character):08x}"
