"""Pages of alerts, read by threads of their own: however many are asked for, other requests find theirs."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from common.gateway.alert_json import as_json
from common.gateway.alerts import Cursor, Wanted, read_page

AT_ONCE = 2   # pages that are read side by side
WAITING = 50  # that may wait for it


class TooManyPages(Exception):
    """As many pages as may wait do so."""


class Pages:
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="alerts")
        self._asked = 0

    async def read(self, path: str, wanted: Wanted, limit: int, cursor: Cursor | None) -> bytes:
        """The JSON of `read_page`, and what that raises; raises TooManyPages."""
        if self._asked >= AT_ONCE + WAITING:
            raise TooManyPages
        self._asked += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, lambda: as_json(read_page(path, wanted, limit, cursor)))
        finally:
            self._asked -= 1
