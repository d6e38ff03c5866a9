"""The credentials that tests plant, and the search for them in anything that leaves the process, or may be shown.

    leaks("...")            the forms of a canary that are in a text
    hidden("...")           the text with no canary in it
    shown(object)           repr, str, JSON, pickle and the fields of it, as one text to look through

What every test prints and logs is searched by conftest.py. So a test that plants a credential plants one of these.

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

__all__ = ["ACME_KEY", "KEY", "ODD_KEY", "PLANTED", "SHARED_KEY", "hidden", "leaks", "shown", "told"]

KEY = "canary-key-4f1d2c3b5a69"
"""The only credential that a fake vendor takes, and what is planted wherever one is enough."""
ODD_KEY = "canary/key+4f1d2c3b"
"""One that an address shows quoted."""
ACME_KEY = "canary-acme-1f2e3d"
"""What belongs to the tenant `acme` alone, where two tenants are told apart."""
SHARED_KEY = "canary-shared-4c5b6a"
"""What belongs to all the others there."""
PLANTED = (KEY, ODD_KEY, ACME_KEY, SHARED_KEY)


def _forms(key: str) -> list[tuple[str, str]]:
    """As it is, in hexadecimal, backwards, and in base64 at each of its three offsets, without its ends."""
    forms = [("itself", key), ("hex", key.encode().hex()), ("reversed", key[::-1]), ("quoted", quote(key, safe=""))]
    for offset in range(3):
        whole = base64.b64encode(b"\0" * offset + key.encode()).decode().rstrip("=")
        forms.append((f"base64 at {offset}", whole[4 if offset else 0 : -2]))
    return forms


_FORMS = [form for key in PLANTED for form in _forms(key)]


def leaks(text: str | bytes) -> list[str]:
    """Names of the forms that are in it; empty where all is well."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return sorted({name for name, form in _FORMS if form in text})


def hidden(text: str) -> str:
    """The same text, to be shown: `<canary>` stands where one was."""
    for _, form in _FORMS:
        text = text.replace(form, "<canary>")
    return text


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
