"""How many ways a pattern may be tried: counted by hand for some, and never fewer than there are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.archive.regex_cost import ENDLESS, UnreadablePattern, count_ways


@pytest.mark.parametrize(("pattern", "wanted"), [
    ("", 11), ("abc", 11), ("^abc", 1), ("^a|b", 22), (r"[^0-9.]", 11), (r"\d+", 110), (r"^\d+$", 10),
    (r"^\s*(\d+)\s*$", 11 * 10 * 11), ("^(?:ab)?c{2,3}d{4}", 2 * 2), ("^(ab)*", 11), ("^(a|b)c*", 22),
    ("^(a*){2}", 121), (r"^a*+b??", 22), ("^a{3,}", 8), ("^a{999}", 1),
])  # fmt: skip
def test_ways_on_ten_characters(pattern, wanted):
    assert count_ways(pattern, 10) == wanted


@pytest.mark.parametrize("pattern", [
    "(a+)+b", "(a*)*", "(a|aa)+$", "(.*a){20}", "(a|b|ab)*c", r"^(([a-z])+.)+[A-Z]([a-z])+$", r"(\w*\s*)*x", "a*" * 12,
    "(a?){50}a{50}",
    "((a{1,9}){1,9}){1,9}" + "b*" * 3,
])  # fmt: skip
def test_what_java_would_never_finish_has_very_many(pattern):
    assert count_ways(pattern, 200) > 10**9


@pytest.mark.parametrize("pattern", [
    "(a", "a)", "*a", "a**", "^*a", "$+", r"(a)\1", "(?=a)", "(?i)a", "(?<n>a)", "(?<=a)b", r"\p{L}", r"\Qa", r"\x41", "[a[b]]",
    "[a&&b]", "[]a]", "[a", "a{", "{2}", "a{2", "a{99999}", "a\\", r"\k<n>", "(?>a)",
])  # fmt: skip
def test_more_than_a_plain_pattern_is_refused(pattern):
    with pytest.raises(UnreadablePattern):
        count_ways(pattern, 10)


PIECES = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", r"\d"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}"])).map(lambda each: f"({each[0]}){each[1]}"),
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map("|".join).map("({})".format),
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(PIECES, st.sampled_from(["a*", "(b|c)+", "x"]))
def test_more_to_try_is_never_counted_as_less(pattern, more):
    alone = count_ways(f"^{pattern}", 12)
    assert 1 <= alone <= count_ways(f"^{pattern}{more}", 12) <= ENDLESS
    assert alone <= count_ways(f"^({pattern}|{more})", 12)
    assert alone <= count_ways(f"^({pattern})*", 12)
    assert alone <= count_ways(f"^{pattern}", 13)
    assert alone <= count_ways(pattern, 12)
