"""Text of records as it may be printed: what moves a cursor, clears a screen or forges a line is shown, not done."""

import unicodedata

MOST = 2_000  # characters of one text that a screen has room for
# Controls, what is invisible or turns the direction of writing, line and paragraph separators, halves of characters.
UNSHOWN = {"Cc", "Cf", "Zl", "Zp", "Cs"}


def printable(text: str, most: int = MOST) -> str:
    """The text, of at most so many characters, with each such one as its escape."""
    if text.isascii() and text.isprintable() and len(text) <= most:
        return text
    return "".join(_escaped(character) for character in text[:most]) + ("..." if len(text) > most else "")


def _escaped(character: str) -> str:
    return ascii(character)[1:-1] if unicodedata.category(character) in UNSHOWN else character
