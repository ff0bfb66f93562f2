"""Another system's keywords, such as ``dim=``, and names, such as ``nn.Linear``: the error names ours."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def advising(function: F) -> F:
    """The function, whose error for an unknown keyword says what to write instead."""

    @wraps(function)
    def called(*args: Any, **keywords: Any) -> Any:
        try:
            return function(*args, **keywords)
        except TypeError as error:
            # Only the call itself: an error from inside the function has another frame below this one.
            if error.__traceback__ is None or error.__traceback__.tb_next is not None or not keywords:
                raise
            raise _advised(function, keywords, error) from None

    return called  # type: ignore[return-value]


def _advised(function: Callable[..., Any], keywords: dict[str, Any], error: TypeError) -> TypeError:
    """The error with what is known of the keyword that does not fit."""
    from treadle.coming_from import advice_for_keyword
    from treadle.errors import KeywordUnknown

    ours = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY or p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    for name in keywords:
        if name not in ours:
            advice = advice_for_keyword(name, ours)
            known = f"it takes {', '.join(f'{o}=' for o in ours)}" if ours else "it takes no keywords"
            return KeywordUnknown(f"[{function.__name__}] there is no keyword {name}=: {advice or known}")
    return error


def advising_names(namespace: str) -> None:
    """Let a module below `treadle`, whose public names are its `__all__`, say what to write for one that it
    does not have.
    """
    module = sys.modules[namespace]
    owner = namespace.removeprefix("treadle.")

    def unknown(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        ours = getattr(module, "__all__", None) or [known for known in vars(module) if known[0] != "_"]
        raise unknown_name(namespace, owner, name, ours)

    # Not as a function in the module itself: type checkers would take every name to exist.
    vars(module)["__getattr__"] = unknown


def unknown_name(namespace: str, owner: str, name: str, ours: Sequence[str]) -> AttributeError:
    """The error for a name that a namespace does not have, with what is known of it."""
    from treadle.coming_from import advice_for_attribute
    from treadle.errors import NameUnknown

    advice = advice_for_attribute(owner, name, ours)
    return NameUnknown(f"{namespace} has no {name!r}" + (f": {advice}" if advice else ""))


def unknown_attribute(kind: str, what: Any, name: str) -> AttributeError:
    """The error for an attribute that a network or an optimizer (the kind) does not have, with what is known
    of it.
    """
    owner = type(what).__name__
    if name.startswith("_"):
        return AttributeError(f"{owner!r} object has no attribute {name!r}", name=name, obj=what)
    from treadle.coming_from import advice_for_attribute
    from treadle.errors import NameUnknown

    ours = {*vars(what), *(known for known in dir(type(what)) if known[0] != "_")}
    advice = advice_for_attribute(kind, name, sorted(ours))
    return NameUnknown(f"[{owner}] there is no attribute {name!r}" + (f": {advice}" if advice else ""))
