"""Which keys a section has: the arguments of the function that it is for. Says what is wrong with a value.

Knows annotations as text, so that nothing has to be imported for a check.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

TOLD = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "Path": "a path",
    "None": "nothing",
}
ALIASES = {"Rate": "float", "Sizes": "int | Sequence[int]"}
"""What may be given in a file where an argument's annotation has a name of its own."""
LISTS = ("tuple", "list", "Sequence", "Iterable")
GIVEN = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list"}


class Option(NamedTuple):
    """A key: the annotation of its argument, whether it must be there, and the texts that there are, if not
    all are.
    """

    annotation: str
    required: bool
    choices: tuple[str, ...] = ()

    def wrong(self, value: Any) -> str | None:
        """What is wrong with a value, in words."""
        if not fits(value, self.annotation):
            return f"{given(value)}: expected {told(self.annotation)}"
        each = value if isinstance(value, list) else [value]
        unknown = [text for text in each if self.choices and text not in self.choices]
        return f"{unknown[0]!r}, which there is not{closest(unknown[0], self.choices)}" if unknown else None


def options_of(function: Callable[..., Any], without: Iterable[str] = ()) -> dict[str, Option] | None:
    """The arguments of a function or class that can be given by keyword; None if it takes any."""
    found: dict[str, Option] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        annotation = _text(parameter.annotation)
        if parameter.kind is parameter.VAR_KEYWORD:
            settings = _unpacked(function, annotation)
            if settings is None:
                return None
            found.update({key: Option(_text(value), False) for key, value in settings.items()})
        elif parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            found[name] = Option(annotation, parameter.default is parameter.empty)
    return {name: option for name, option in found.items() if name not in without}


def _text(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return "Any"
    if isinstance(annotation, str):
        return annotation
    return getattr(annotation, "__forward_arg__", None) or getattr(annotation, "__name__", str(annotation))


def _unpacked(function: Callable[..., Any], annotation: str) -> Mapping[str, Any] | None:
    """The settings that ``**settings: Unpack[Settings]`` stands for."""
    made = function.__init__ if inspect.isclass(function) else function
    name = annotation.removeprefix("Unpack[").removesuffix("]")
    settings = getattr(made, "__globals__", {}).get(name)
    return getattr(settings, "__annotations__", None) if annotation.startswith("Unpack[") else None


def fits(value: Any, annotation: str) -> bool:
    """Whether a value of a TOML file may be given where an annotation stands; one that says something else
    than plain types takes any.

    >>> fits(1, "float"), fits(True, "int"), fits([1, 2], "int | Sequence[int]"), fits("x", "First")
    (True, False, True, True)
    """
    return any(_fits_one(value, part) for part in _split(annotation, "|"))


def _fits_one(value: Any, annotation: str) -> bool:
    if annotation in ALIASES:
        return fits(value, ALIASES[annotation])
    name, bracket, inside = annotation.partition("[")
    if name == "float":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if name == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if name in ("bool", "str", "Path"):
        return isinstance(value, bool if name == "bool" else str)
    if name == "None":
        return value is None
    if name in LISTS:
        parts = [part for part in _split(inside.removesuffix("]"), ",") if part != "..."] if bracket else []
        if not isinstance(value, list):
            return False
        if name == "tuple" and len(parts) > 1 and len(parts) != len(value):
            return False
        each = parts if len(parts) == len(value) else parts[:1] * len(value)
        return all(fits(item, part) for item, part in zip(value, each))
    return True


def _split(text: str, at: str) -> list[str]:
    """The parts of an annotation between separators that are in no brackets."""
    parts, depth, begin = [], 0, 0
    for i, character in enumerate(text):
        depth += (character == "[") - (character == "]")
        if character == at and not depth:
            parts.append(text[begin:i].strip())
            begin = i + 1
    return [*parts, text[begin:].strip()]


def told(annotation: str) -> str:
    """An annotation in words.

    >>> told("int | None"), told("tuple[float, float]")
    ('a whole number', 'a list of 2: a number')
    """
    words = []
    for part in _split(ALIASES.get(annotation, annotation), "|"):
        name, bracket, inside = part.partition("[")
        if name in LISTS:
            parts = _split(inside.removesuffix("]"), ",") if bracket else []
            many = f" of {len(parts)}" if name == "tuple" and len(parts) > 1 and "..." not in parts else ""
            words.append(f"a list{many}" + (f": {told(parts[0])}" if parts else ""))
        elif name != "None":
            words.append(TOLD.get(name, name))
    return " or ".join(words)


def given(value: Any) -> str:
    """A value and what it is, in words."""
    kind = next((text for type_, text in GIVEN.items() if type(value) is type_), "a section")
    shown = (
        str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, str) else value
    )
    return f"{shown} is {kind}"


def closest(name: str, known: Sequence[str]) -> str:
    """What to say of a name that there is not: the one that is like it, and all there are."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    guess = f": did you mean {close[0]!r}?" if close else "."
    return f"{guess} There are {', '.join(known)}" if known else "."
