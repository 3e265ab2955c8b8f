"""Counts the ways in which a regular expression may be tried on a text before it gives up: a bound of its cost.

Java's regular expressions go back and try again, so that `(a+)+b` takes longer than anyone waits on thirty characters. A pattern
is taken apart here into characters, groups, alternatives and repeats, and its ways are counted: those of a sequence multiply,
those of alternatives add up, those of a repeat are as many as there are numbers of times.
"""

import re
from collections.abc import Iterator

ENDLESS = 10**12
TOKENS = re.compile(
    r"""(?P<escape>\\[dDwWsSbBtnr]|\\[^A-Za-z0-9])|(?P<set>\[\^?(?:\\[dDwWsStnr]|\\[^A-Za-z0-9]|[^\]\[\\&])+\])
    |(?P<open>\((?:\?:)?(?!\?))|(?P<close>\))|(?P<or>\|)|(?P<repeat>(?:[*+?]|\{\d{1,4}(?:,\d{0,4})?\})[?+]?)
    |(?P<edge>[\^$])|(?P<one>[^\\\[\]{}()*+?|^$])""",
    re.VERBOSE | re.DOTALL,
)


class UnreadablePattern(ValueError):
    """A pattern of more than characters, sets, groups, alternatives and repeats; the message says from where on."""


def count_ways(pattern: str, length: int) -> int:
    """The most ways in which `pattern` can be tried on a text of `length` characters, ENDLESS at most.

    Raises UnreadablePattern.
    """
    tokens = list(_tokens(pattern))
    ways_of_all, remaining_tokens = _count_ways_until_close(tokens, length)
    if remaining_tokens:
        raise UnreadablePattern("a ) closes nothing")
    return min(ways_of_all * (1 if _is_anchored(tokens) else length + 1), ENDLESS)


def _is_anchored(tokens: list[tuple[str, str]]) -> bool:
    """Whether it is tried from the text's beginning only: it begins with ^, and has no alternative that does not."""
    depth = 0
    for token_kind, _ in tokens:
        depth += {"open": 1, "close": -1}.get(token_kind, 0)
        if token_kind == "or" and depth == 0:
            return False
    return tokens[:1] == [("edge", "^")]


def _tokens(pattern: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(pattern):
        token = TOKENS.match(pattern, position)
        if not token:
            raise UnreadablePattern(f"{pattern[position : position + 20]} is more than a plain pattern may hold")
        yield str(token.lastgroup), token[0]
        position = token.end()


def _count_ways_until_close(tokens: list[tuple[str, str]], length: int) -> tuple[int, list[tuple[str, str]]]:
    """The ways of the tokens before the next ) that closes nothing, and the tokens from there on."""
    total, ways_here = 0, 1
    while tokens and tokens[0][0] != "close":
        (token_kind, _), tokens = tokens[0], tokens[1:]
        if token_kind == "or":
            total, ways_here = total + ways_here, 1
            continue
        if token_kind == "repeat":
            raise UnreadablePattern("a repeat has nothing to repeat")
        if token_kind == "edge":  # not to be repeated: a ^ that may be left out holds nothing
            continue
        part_ways = 1
        if token_kind == "open":
            part_ways, tokens = _count_ways_until_close(tokens, length)
            if not tokens:
                raise UnreadablePattern("a ( is not closed")
            tokens = tokens[1:]
        if tokens and tokens[0][0] == "repeat":
            part_ways, tokens = _repeated_ways(part_ways, tokens[0][1], length), tokens[1:]
        ways_here = min(ways_here * part_ways, ENDLESS)
    return min(total + ways_here, ENDLESS), tokens


def _repeated_ways(part_ways: int, repeat: str, length: int) -> int:
    min_times, max_times = _times_range(repeat, length)
    if part_ways == 1:
        return max_times - min_times + 1
    return ENDLESS if max_times > 40 else min(sum(part_ways**times for times in range(min_times, max_times + 1)), ENDLESS)


def _times_range(repeat: str, length: int) -> tuple[int, int]:
    if repeat[0] != "{":
        return {"*": (0, length), "+": (1, max(1, length)), "?": (0, 1)}[repeat[0]]
    low, comma, high = repeat[1 : repeat.index("}")].partition(",")
    max_times = int(high) if high else length if comma else int(low)
    return int(low), max(int(low), min(max_times, max(length, 1)))
