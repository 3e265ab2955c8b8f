"""Reads pages of alerts in threads of its own, so that no number of pages holds up other requests."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from common.gateway.alert_json import to_json
from common.gateway.limits import ConcurrencyLimiter
from common.gateway.stored_alerts import AlertFilter, Cursor, read_page

READER_THREADS = 2  # pages that are read at once
MAX_PAGES_PER_CLIENT = 10  # that one client may wait for, or be sent
MAX_PAGES = 52  # of all clients


class PageReader:
    """Reads pages for all clients; bounds how many one client, and all together, may wait for."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="alerts")
        self._limiter = ConcurrencyLimiter(MAX_PAGES_PER_CLIENT, MAX_PAGES, "pages")

    def slot(self, client: str) -> AbstractContextManager[None]:
        """A page's slot, to be held from the request until the client has read the page; raises LimitReached."""
        return self._limiter.slot(client)

    async def read(self, path: str, alert_filter: AlertFilter, limit: int, cursor: Cursor | None) -> bytes:
        """The JSON of `read_page`; raises what that raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: to_json(read_page(path, alert_filter, limit, cursor)))
