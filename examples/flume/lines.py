"""Makes a log line's id, and maps a till's line to an event of a vertical.

Flume passes on a line's text and nothing else: neither its file nor its place in it. So the id is made of the text: the same
line, sent again, has the same id. Two lines of one text would count as one: the log's writer puts a number or a time into each.
"""

import hashlib
import json
from typing import Any

# A field of finance_fraud, and the field of a till's log line that it comes from.
MAPPING = {"card_id": "card", "terminal_id": "till", "amount": "amount", "currency": "currency", "event_time": "at"}


def id_of(line: bytes) -> str:
    """The id of a line: 32 hexadecimal digits of a hash of its text."""
    return hashlib.sha256(line).hexdigest()[:32]


def event_of(line: bytes) -> bytes:
    """A till's line as an event of finance_fraud. Another line stays as it is, and the archive puts it into quarantine."""
    try:
        payment = json.loads(line)
        event: dict[str, Any] = {field: payment[name] for field, name in MAPPING.items()}
    except (ValueError, TypeError, KeyError):
        return line
    return json.dumps({"transaction_id": id_of(line)} | event).encode()
