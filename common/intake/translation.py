"""Translates a document in another format to the record that is sent to the events topic."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson
from confluent_kafka import Message

from common.formats import Format, Untranslatable
from common.gateway.json_nesting import TOO_NESTED, is_too_nested
from common.kafka.topics import topic_names
from common.vertical import Vertical

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class IntakeRecord:
    """A record for the events topic. why_unchanged: why it is the document as it came; empty where it is an event made of it."""

    key: bytes | None
    value: bytes
    why_unchanged: str = ""


@dataclass
class IntakeCounts:
    """What became of the documents that were read.

    translated, unchanged: acknowledged by Kafka, the latter as they came, by reason. tombstones: records without a value, passed
    over. refused: Kafka took neither the document nor what was made of it, mostly as it is too large.
    """

    translated: int = 0
    unchanged: Counter[str] = field(default_factory=Counter)
    tombstones: int = 0
    refused: int = 0

    def add(self, record: IntakeRecord, acknowledged: Message) -> None:
        """Count a record that Kafka has acknowledged."""
        if record.why_unchanged:
            self.unchanged[record.why_unchanged] += 1
        else:
            self.translated += 1

    def __str__(self) -> str:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.unchanged.most_common())
        parts = [f"{self.translated:,} translated"]
        parts += [f"{self.unchanged.total():,} sent on unchanged: {reasons}"] if reasons else []
        parts += [f"{self.tombstones:,} tombstone{'' if self.tombstones == 1 else 's'} passed over"] if self.tombstones else []
        parts += [f"{self.refused:,} refused by Kafka"] if self.refused else []
        return "; ".join(parts)


class Translator:
    """Makes a vertical's events of documents in one format."""

    def __init__(self, vertical: Vertical, document_format: Format) -> None:
        self._entity, self._format = vertical.entity, document_format
        self.vertical_name, self.topic = vertical.name, topic_names(vertical).events  # that its records are for

    def translate(self, key: bytes | None, text: bytes) -> IntakeRecord:
        """The event, keyed by its entity; or where none can be made of it, the document with the key and bytes that it has.

        The contract judges an event when it comes off the topic, and puts what is no event into quarantine.
        """
        try:
            event = self._event(text)
            entity = event.get(self._entity)
            return IntakeRecord(entity.encode() if entity else key, orjson.dumps(event))
        except Untranslatable as problem:
            return IntakeRecord(key, text, str(problem))
        except Exception as defect:  # a defect of the translation, over one document: the others go on
            return IntakeRecord(key, text, f"translation failed ({type(defect).__name__})")

    def _event(self, text: bytes) -> dict[str, Any]:
        """Raises Untranslatable."""
        if is_too_nested(text):
            raise Untranslatable(TOO_NESTED)
        try:
            document = orjson.loads(text.removeprefix(BYTE_ORDER_MARK))
        except orjson.JSONDecodeError:
            raise Untranslatable("not JSON") from None
        event = self._format.translate(document) if isinstance(document, dict) else None
        if event is None:
            raise Untranslatable(f"no {self._format.title}")
        return event
