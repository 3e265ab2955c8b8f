"""A line's id, and what a vertical makes of a line.

Flume hands on a line and nothing else: neither its file nor its place there. So its id is made of its text: the same line, sent
again, has the same id. Two lines with the same text would be one: what writes the log puts a number or a time into each.
"""

import hashlib
import json
from typing import Any

# finance_fraud's field, and that of a till's log line.
MAPPING = {"card_id": "card", "terminal_id": "till", "amount": "amount", "currency": "currency", "event_time": "at"}


def id_of(line: bytes) -> str:
    """Of a line of a log, 32 hexadecimal digits."""
    return hashlib.sha256(line).hexdigest()[:32]


def event_of(line: bytes) -> bytes:
    """A till's line as an event of finance_fraud; what is no JSON object goes on as it is, and the archive quarantines it."""
    try:
        told = json.loads(line)
        event: dict[str, Any] = {field: told[name] for field, name in MAPPING.items()}
    except (ValueError, TypeError, KeyError):
        return line
    return json.dumps({"transaction_id": id_of(line)} | event).encode()
