"""Pages of Data Docs that load nothing, whatever the data say that they show."""

import pytest

from common.contract.data_docs import HEAD, POLICY, strip_page

PAGE = '<!DOCTYPE html><html>\n<head><link href="//a/b.css"></head><body><script>fetched()</script>{data}</body></html>'


@pytest.mark.parametrize("data", ["12.5", POLICY, HEAD, f"<!-- {HEAD} -->", "<head>"])
def test_a_page_is_closed_once_whatever_its_data_say(data):
    page = strip_page(PAGE.format(data=data))
    assert "<script" not in page and "<link" not in page
    assert page.startswith(f"<!DOCTYPE html><html>\n{HEAD}</head><body>") and data in page
    assert strip_page(page) == page
