"""A gateway that really listens, over librdkafka's mock broker, and a client of the standard library."""

import http.client
import json
import threading
import time
from datetime import date

import uvicorn

from common.embedded.ports import free_port
from common.gateway.access import Access
from common.gateway.app import Gateway
from common.gateway.tokens import TokenFile, Tokens
from common.settings import Settings
from common.vertical import find_vertical

VERTICALS = [find_vertical(name) for name in ("finance_fraud", "health_monitoring", "retail_behavior", "telecom_anomaly")]


class Running:
    """The gateway of all four verticals in a thread of this process."""

    def __init__(self, connection, data, on_loopback=True, **settings):
        self.port = free_port()
        access = Access(Tokens(TokenFile(data)), on_loopback)
        self.gateway = Gateway(VERTICALS, Settings(data=data, **settings), connection, access,
                               closing=lambda: self.server.should_exit)
        self.server = uvicorn.Server(uvicorn.Config(
            self.gateway, host="127.0.0.1", port=self.port, loop="uvloop", http="httptools", ws="none", lifespan="on",
            log_config=None, access_log=False, timeout_graceful_shutdown=2))
        self._thread = threading.Thread(target=self.server.run)

    def __enter__(self):
        self._thread.start()
        while not self.server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self._thread.join()

    def ask(self, method, path, body=None, **headers):
        """Status, JSON, headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null"), answer.headers
        finally:
            connection.close()

    def post(self, events, vertical="finance_fraud", content_type="application/json", **headers):
        body = events if isinstance(events, bytes) else json.dumps(events).encode()
        return self.ask("POST", f"/v1/{vertical}/events", body, content_type=content_type, **headers)


def generated(vertical, number):
    """Valid events of a vertical, as objects."""
    vertical = find_vertical(vertical)
    chunk = next(iter(vertical.generate(1, date(2020, 1, 1), 1, vertical.population(**vertical.small), False)))
    return [json.loads(value) for value in chunk.messages.values[:number]]
