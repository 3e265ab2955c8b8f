"""Fixes as they are typed: a field of the vertical, and something to put there."""

import pytest

from common.archive.repairs import FixError, parse_fixes
from common.installed import find_vertical

FINANCE = find_vertical("finance_fraud")


def test_a_fix_is_a_field_and_an_expression():
    assert [str(fix) for fix in parse_fixes([" amount = 1", "debug_trace=null"], FINANCE)] == ["amount=1", "debug_trace=null"]


@pytest.mark.parametrize(("text", "said"), [
    ("amount", "field=SQL"),
    ("amount=", "field=SQL"),
    ("=1", "field=SQL"),
    ("amuont=1", "did you mean amount"),
    ("debug_trace='x'", "debug_trace=NULL"),
])  # fmt: skip
def test_what_is_no_fix_is_refused_in_words(text, said):
    with pytest.raises(FixError) as refused:
        parse_fixes([text], FINANCE)
    assert said in str(refused.value)


def test_a_field_has_one_fix():
    with pytest.raises(FixError, match="has a fix already"):
        parse_fixes(["amount=1", "amount=2"], FINANCE)
