"""Measures how deep JSON is nested without reading it: to read a text that is all brackets costs many times its size."""

import numpy as np

MAX_LEVELS = 64  # of an event: the contract's events have one, those in other formats a few
MAX_PARTS = 10_000  # objects and arrays in an event
TOO_NESTED = f"an event has at most {MAX_LEVELS} levels, and {MAX_PARTS:,} objects and arrays"
QUOTE = ord('"')
LEVEL_STEPS = np.zeros(256, np.int8)  # by byte: by how many levels it goes down or up
LEVEL_STEPS[list(b"[{")], LEVEL_STEPS[list(b"]}")] = 1, -1


def is_too_nested(text: bytes) -> bool:
    """Whether an event has more levels, or more objects and arrays, than it may; brackets within strings do not count."""
    if text.count(b"[") + text.count(b"{") <= MAX_LEVELS:
        return False
    plain = np.frombuffer(text.replace(rb"\\", b"").replace(rb"\"", b""), np.uint8)  # each quote begins or ends a string now
    steps = LEVEL_STEPS[plain]
    steps[np.logical_xor.accumulate(plain == QUOTE)] = 0
    return bool(np.count_nonzero(steps == 1) > MAX_PARTS or np.cumsum(steps, dtype=np.int32).max(initial=0) > MAX_LEVELS)
