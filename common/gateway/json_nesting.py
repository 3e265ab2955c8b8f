"""How JSON is nested, found without reading it: to read what is all brackets costs many times its text."""

import numpy as np

DEEPEST = 64         # levels of an event: the contract's have one, those in other formats a few
MOST_PARTS = 10_000  # objects and arrays in an event
TOO_NESTED = f"an event has at most {DEEPEST} levels, and {MOST_PARTS:,} objects and arrays"
QUOTE = ord('"')
STEPS = np.zeros(256, np.int8)
STEPS[list(b"[{")], STEPS[list(b"]}")] = 1, -1


def is_too_nested(text: bytes) -> bool:
    """Whether an event has more levels, or more objects and arrays, than one may; strings do not count."""
    if text.count(b"[") + text.count(b"{") <= DEEPEST:
        return False
    plain = np.frombuffer(text.replace(rb"\\", b"").replace(rb"\"", b""), np.uint8)  # each quote begins or ends a string now
    steps = STEPS[plain]
    steps[np.logical_xor.accumulate(plain == QUOTE)] = 0
    return bool(np.count_nonzero(steps == 1) > MOST_PARTS or np.cumsum(steps, dtype=np.int32).max(initial=0) > DEEPEST)
