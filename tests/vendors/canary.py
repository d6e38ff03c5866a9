"""Where the one credential that the fakes take must not be found: anything that leaves the process, or may be shown.

    leaks("...")            the forms of the canary that are in a text
    shown(object)           repr, str, JSON, pickle and the fields of it, as one text to look through

Source   security checks S10 to S14: planted secrets, searched for after a run.
"""

from __future__ import annotations

import base64
import contextlib
import json
import pickle
import traceback
from typing import Any
from urllib.parse import quote

from tests.vendors.server import KEY

__all__ = ["leaks", "shown", "told"]


def _forms() -> dict[str, str]:
    """As it is, in hexadecimal, backwards, and in base64 at each of its three offsets, without its ends."""
    forms = {"itself": KEY, "hex": KEY.encode().hex(), "reversed": KEY[::-1], "quoted": quote(KEY, safe="")}
    for offset in range(3):
        whole = base64.b64encode(b"\0" * offset + KEY.encode()).decode().rstrip("=")
        forms[f"base64 at {offset}"] = whole[4 if offset else 0 : -2]
    return forms


_FORMS = _forms()


def leaks(text: str | bytes) -> list[str]:
    """Names of the forms that are in it; empty where all is well."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return sorted(name for name, form in _FORMS.items() if form in text)


def shown(thing: object, depth: int = 3) -> str:
    """Everything that a log, a debugger, a crash report or another process would see of it."""
    seen = [repr(thing), str(thing), f"{thing}"]
    with contextlib.suppress(TypeError, ValueError):
        seen.append(json.dumps(thing, default=repr))
    with contextlib.suppress(Exception):  # what cannot leave its process cannot leak by leaving it
        seen.append(pickle.dumps(thing).decode("latin-1"))
    if depth:
        seen += [shown(value, depth - 1) for value in _fields(thing)]
    return "\n".join(seen)


def _fields(thing: object) -> list[Any]:
    """What it has, as far as that is not private: a private field is shown by no repr of its own."""
    if isinstance(thing, dict):
        return list(thing.values())
    if isinstance(thing, (list, tuple, set, frozenset)):
        return list(thing)
    named = [*getattr(thing, "__dict__", {}), *getattr(type(thing), "__slots__", ())]
    return [getattr(thing, name, None) for name in named if not name.startswith("_") and name != "headers"]


def told(error: BaseException) -> str:
    """An exception as it is printed, pickled and logged."""
    lines = "".join(traceback.format_exception(error))
    return f"{lines}\n{error!r}\n{error}\n{pickle.dumps(error).decode('latin-1')}"
