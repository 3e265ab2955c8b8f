"""Makes text of records safe to print: what would move a cursor, clear a screen or forge a line is escaped."""

import unicodedata

MAX_CHARACTERS = 2_000  # of one text; a screen has room for no more
# Unicode's categories: controls, what is invisible or turns the direction of writing, separators of lines, halves of characters.
ESCAPED_CATEGORIES = {"Cc", "Cf", "Zl", "Zp", "Cs"}


def make_printable(text: str, max_characters: int = MAX_CHARACTERS) -> str:
    """The text, cut off after so many characters, with an escape for each one that must not be printed."""
    if text.isascii() and text.isprintable() and len(text) <= max_characters:
        return text
    return "".join(map(_escape, text[:max_characters])) + ("..." if len(text) > max_characters else "")


def _escape(character: str) -> str:
    return ascii(character)[1:-1] if unicodedata.category(character) in ESCAPED_CATEGORIES else character
