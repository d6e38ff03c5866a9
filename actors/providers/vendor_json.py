"""Messages of a vendor, decoded strictly into records, and an error of ours where they do not hold.

    kind = kind_of(vendor, data)                 the value of "type", "" where there is none
    results = decode(vendor, data, Results)      a msgspec Struct; fields it does not name are ignored

NaN, infinities, broken text, wrong types and text that is not UTF-8 are protocol faults; the text is not repeated,
for it may be what the caller said.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from actors.providers.vendor_faults import Vendor

__all__ = ["decode", "encode", "kind_of"]

T = TypeVar("T")


class _Kind(msgspec.Struct, frozen=True):
    type: str = ""


def kind_of(vendor: Vendor, data: str | bytes) -> str:
    return decode(vendor, data, _Kind).type


def decode(vendor: Vendor, data: str | bytes, kind: type[T]) -> T:
    """Raises ProviderError(protocol)."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        # Its text has the field's name and the types, never a value.
        raise vendor.error("protocol", f"a message that does not hold: {error}") from None
    except (msgspec.DecodeError, UnicodeError):
        raise vendor.error("protocol", f"{len(data)} characters that are no JSON") from None


def encode(message: object) -> str:
    return msgspec.json.encode(message).decode()
