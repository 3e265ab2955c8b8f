"""Pages of alerts, read by threads of their own: however many are asked for, other requests find theirs."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from common.gateway.alert_json import as_json
from common.gateway.limits import Places
from common.gateway.stored_alerts import Cursor, Wanted, read_page

AT_ONCE = 2     # pages that are read side by side
OF_CLIENT = 10  # that one client may wait for, or be sent
OF_ALL = 52


class Pages:
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="alerts")
        self._places = Places(OF_CLIENT, OF_ALL, "pages")

    def place_for(self, client: str) -> AbstractContextManager[None]:
        """A place for a page, from when it is asked for until it is written; raises NoPlace."""
        return self._places.taken_by(client)

    async def read(self, path: str, wanted: Wanted, limit: int, cursor: Cursor | None) -> bytes:
        """The JSON of `read_page`, and what that raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: as_json(read_page(path, wanted, limit, cursor)))
