"""Defines formats of other systems, each with the function that translates one of its documents to an event of ours.

Each format has one translation. The gateway and `hybrid intake` call it; on the events topic there are only our own events.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

Json = Mapping[str, Any]


class Untranslatable(ValueError):
    """A document of the format cannot become an event.

    The message says why, in words of ours alone: it is shown to people, and a document may name a patient.
    document_id: the document's own id, where it has one.
    """

    def __init__(self, reason: str, document_id: str | None = None) -> None:
        self.document_id = document_id
        super().__init__(reason)


@dataclass(frozen=True)
class Format:
    """A format in which a vertical's events may come."""

    name: str
    """As `hybrid intake --format` takes it, and the key in `Vertical.formats`."""

    title: str
    """One document of it, for people."""

    translate: Callable[[Json], dict[str, Any] | None]
    """translate(document) gives the event as a JSON object with finite numbers, None where the document is not of this format.

    The same document gives the same event, id included. Raises Untranslatable. What the event holds is left to the contract.
    """


def as_text(value: Any) -> str | None:
    """The value as text: text as it is, a value of another type as its JSON, None as None."""
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def object_of(document: Json, name: str) -> Json:
    """The object of that name in the document; an empty one where there is none."""
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def without_nulls(event: Json) -> dict[str, Any]:
    return {name: value for name, value in event.items() if value is not None}
