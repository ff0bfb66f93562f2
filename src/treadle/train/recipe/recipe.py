"""The grammar of recipes: which sections there are, and that every key in them is known and of its type.

All that is wrong is told at once, each with its line, before anything is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, NamedTuple

from treadle.errors import FormatError, TreadleError
from treadle.nn.layout import LAYOUTS
from treadle.train.metrics import NAMED as METRICS
from treadle.train.recipe.batches import Augment
from treadle.train.recipe.data import KINDS, Common
from treadle.train.recipe.options import Option, closest, given, options_of, told
from treadle.train.recipe.parts import LOSSES, NO_KEYS, OPTIMIZERS, SCHEDULES, found
from treadle.train.recipe.text import Key, parsed_override, read_toml, toml_text, with_overrides

BUILT_IN = files("treadle.train.recipe") / "built_in"
WARM_UP = {"warm_up": Option("int", False)}


@dataclass
class Training:
    """The keys of ``[training]``."""

    epochs: int = 10
    seed: int = 0
    freeze: list[str] = field(default_factory=list)
    """Patterns of parameters that are not trained: ``features.*``."""
    folder: Path | None = None
    """None for a numbered one in the user's place for data."""
    metrics: list[str] | None = None
    """None for accuracy with a loss of labels, else for none."""
    log_steps: int = 10
    """The log has the loss of every so many steps."""
    tensorboard: bool = False
    best: str | None = None
    """By which measure the best checkpoint is told; the validation loss if None."""
    patience: int | None = None
    """Stop after so many evaluations in which it did not become better."""
    compute_dtype: str = "float32"
    """In which the model computes products; with float16, losses are scaled."""


class Named(NamedTuple):
    """How a section is read whose first key says what it is for."""

    key: str
    functions: Mapping[str, Callable[..., Any]] | None
    """By name; None for models, which may be anywhere."""
    default: str | None
    without: tuple[str, ...] = ()
    more: Mapping[str, Option] = {}


CHOICES = {
    "metrics": tuple(METRICS),
    "layout": LAYOUTS,
    "bad": ("raise", "skip"),
    "compute_dtype": ("float32", "bfloat16", "float16"),
}
"""Keys of plain sections of which only some texts are known."""


def _plain(keys: type) -> dict[str, Option]:
    """The keys of a section that is always the same: a dataclass's."""
    return {item.name: Option(str(item.type), False, CHOICES.get(item.name, ())) for item in fields(keys)}


NAMED = {
    "model": Named("name", None, None),
    "data": Named("kind", KINDS, None, more=_plain(Common)),
    "loss": Named(
        "name", LOSSES, "cross_entropy", ("scores", "labels", "prediction", "target", "logits", "reduction")
    ),
    "optimizer": Named("name", OPTIMIZERS, "adam", NO_KEYS, {"ema": Option("float", False)}),
    "schedule": Named("name", {name: function for name, (function, _) in SCHEDULES.items()}, "constant"),
}
PLAIN = {"training": _plain(Training)}
INNER: dict[Key, dict[str, Option]] = {
    ("data", "augment"): {key: option for key, option in _plain(Augment).items() if key != "layout"}
}
SECTIONS = (*NAMED, *PLAIN)


@dataclass
class Recipe:
    """What is trained on what, how and for how long: sections of checked values. Made by `read_recipe`.

    >>> from treadle import train
    >>> recipe = train.read_recipe("digits", ["optimizer.rate=0.001"])
    >>> recipe["data"]["kind"], recipe["optimizer"]["rate"]
    ('digits', 0.001)
    """

    name: str
    sections: dict[str, dict[str, Any]]
    places: dict[Key, str] = field(repr=False)

    def __getitem__(self, section: str) -> dict[str, Any]:
        return self.sections.get(section, {})

    def named(self, section: str) -> tuple[str, dict[str, Any]]:
        """What a section is for, and its other keys."""
        rule = NAMED[section]
        keys = {key: value for key, value in self[section].items() if key != rule.key}
        return self[section].get(rule.key, rule.default), keys

    @property
    def training(self) -> Training:
        """``[training]``."""
        return Training(**self["training"])

    def text(self) -> str:
        """A TOML file that says the same; its paths are absolute."""
        return toml_text(self.sections)

    def wrong(self, section: str, message: str) -> FormatError:
        """The error that says where what is wrong stands."""
        where = self.places.get((section,), self.name)
        return FormatError(f"{where}: [{section}] {message.removeprefix(f'[{section}] ')}")


def read_recipe(name: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """A recipe that comes with Treadle, or one in a TOML file.

    Args:
        name: ``digits``, or a path that ends in .toml.
        overrides: what is to be otherwise: ``section.key=value``, with a value as in TOML.

    Raises:
        FormatError: sections or keys are unknown, missing or of another type: the message lists all of them.
        FileNotFoundError: there is no such file.
    """
    parsed = [parsed_override(text) for text in overrides]
    path = Path(name)
    if path.suffix == ".toml":
        values, places = read_toml(path)
        return checked(path.stem, values, places, path.resolve().parent, parsed)
    known = built_in()
    if str(name) not in known:
        raise FormatError(
            f"there is no recipe {str(name)!r}{closest(str(name), known)}; a file of one's own ends in .toml"
        )
    with as_file(BUILT_IN / f"{name}.toml") as file:
        values, _ = read_toml(file)
        return checked(str(name), values, {}, file.parent, parsed)


def built_in() -> list[str]:
    """The names of the recipes that come with Treadle."""
    return sorted(
        file.name.removesuffix(".toml") for file in BUILT_IN.iterdir() if file.name.endswith(".toml")
    )


def checked(
    name: str,
    values: Mapping[str, Any],
    places: Mapping[Key, str],
    folder: Path,
    overrides: Iterable[tuple[Key, Any]] = (),
) -> Recipe:
    """A recipe of values whose paths begin in a folder; those of overrides begin in the present one."""
    overrides = list(overrides)
    values, told_places = with_overrides(values, places, overrides)
    check = _Check(name, told_places, folder, {key for key, _ in overrides})
    sections = {section: check.section(section, values[section]) for section in values}
    for section in ("model", "data"):
        if section not in values:
            check.problem((section,), f"there is no section [{section}]")
    if check.problems:
        raise FormatError("\n".join(check.problems))
    return Recipe(
        name, {section: sections[section] for section in SECTIONS if section in sections}, told_places
    )


class _Check:
    """One pass over the sections, and what was wrong in them."""

    def __init__(self, name: str, places: Mapping[Key, str], folder: Path, overridden: set[Key]):
        self.name, self.places, self.folder, self.overridden = name, places, folder, overridden
        self.problems: list[str] = []

    def problem(self, key: Key, text: str) -> None:
        """Note what is wrong at a key, or where it should be."""
        near = next(
            (self.places[key[:n]] for n in range(len(key), 0, -1) if key[:n] in self.places), self.name
        )
        self.problems.append(f"{near}: {text}")

    def section(self, section: str, values: Any) -> dict[str, Any]:
        if section not in SECTIONS:
            self.problem((section,), f"there is no section [{section}]{closest(section, SECTIONS)}")
            return {}
        if not isinstance(values, dict):
            self.problem((section,), f"{section} is a section: write [{section}]")
            return {}
        if section in PLAIN:
            return self.keys((section,), values, PLAIN[section])
        rule = NAMED[section]
        name = values.get(rule.key, rule.default)
        if not isinstance(name, str):
            what = "says nothing" if name is None else f"is {given(name)}"
            self.problem((section, rule.key), f"[{section}] {rule.key} {what}: expected text")
            return {}
        function = self.function(section, rule, name)
        if function is None:
            return {}
        if section == "model" and ".py:" in name:
            name = self.path((section, rule.key), name)
        options = options_of(function, rule.without)
        if section == "schedule":
            options = _schedule_options(name, options or {})
        more = None if options is None else {**options, **rule.more}
        rest = {key: value for key, value in values.items() if key != rule.key}
        return {rule.key: name, **self.keys((section,), rest, more, first=(rule.key,))}

    def function(self, section: str, rule: Named, name: str) -> Callable[..., Any] | None:
        """What a section is for."""
        if rule.functions is not None:
            if name not in rule.functions:
                known = closest(name, list(rule.functions))
                self.problem((section, rule.key), f"[{section}] there is no {rule.key} {name!r}{known}")
            return rule.functions.get(name)
        try:
            inside = Path() if (section, rule.key) in self.overridden else self.folder
            return found(name, inside)
        except TreadleError as error:
            self.problem((section, rule.key), f"[{section}] {error.message}")
        return None

    def keys(
        self, path: Key, values: Mapping[str, Any], options: Mapping[str, Option] | None, first: Key = ()
    ) -> dict[str, Any]:
        """The values of a section that are as they should be; None takes any keys."""
        kept: dict[str, Any] = {}
        title = f"[{'.'.join(path)}]"
        for key, value in values.items():
            inner = INNER.get((*path, key))
            if inner is not None and isinstance(value, dict):
                kept[key] = self.keys((*path, key), value, inner)
            elif options is not None and key not in options:
                known = closest(key, [*first, *options])
                self.problem((*path, key), f"{title} there is no key {key!r}{known}")
            elif options is not None and (wrong := options[key].wrong(value)):
                self.problem((*path, key), f"{title} {key} = {wrong}")
            else:
                is_path = options is not None and "Path" in options[key].annotation and isinstance(value, str)
                kept[key] = self.path((*path, key), value) if is_path else value
        for key, option in (options or {}).items():
            if option.required and key not in values:
                self.problem(path, f"{title} there is no {key}: it needs {told(option.annotation)}")
        return kept

    def path(self, key: Key, value: str) -> str:
        """A path as an absolute one."""
        folder = Path() if key in self.overridden else self.folder
        return str((folder / Path(value).expanduser()).absolute())


def _schedule_options(name: str, options: Mapping[str, Option]) -> dict[str, Option]:
    """A schedule's keys: its rate is the optimizer's, its steps are the run's if nothing is said."""
    kept = {key: option for key, option in options.items() if key != SCHEDULES[name][1]}
    if "steps" in kept:
        kept["steps"] = Option(kept["steps"].annotation, False)
    return kept if name == "plateau" else {**kept, **WARM_UP}
