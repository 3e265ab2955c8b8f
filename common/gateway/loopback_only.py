"""Whether a request comes from this machine itself, as far as it shows: an open gateway serves no other."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from common.gateway.protocol import TARGET

NAMES = ("localhost", "127.0.0.1", "[::1]")
# Fields that a proxy adds: whoever is behind it may be anybody. Each maker has names of its own, which begin or end alike.
PASSED_ON = re.compile(
    rb"forwarded|via|cdn-loop|max-forwards|client-ip|.+-(client|real|connecting)-ip"
    rb"|(x-forwarded|x-original|x-proxy|proxy|cf|x-envoy|x-amzn?|x-azure|x-arr|x-appengine|fly|fastly)-.+"
)


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def why_not_local(scope: Mapping[str, Any]) -> str | None:
    """What shows that the request was made or passed on by another; None: nothing does."""
    headers = [(name.lower().replace(b"_", b"-"), value.decode("latin-1").lower()) for name, value in scope["headers"]]
    hosts = [value for name, value in headers if name == b"host"]
    # A page in a browser of this machine may point a name of its own at 127.0.0.1; the name it uses gives it away.
    if len(hosts) != 1 or not _is_local(hosts[0]):
        return "it is asked by the name localhost or 127.0.0.1, given once"
    if not scope.get("extensions", {}).get(TARGET, b"/").startswith(b"/"):
        return "it was asked as a proxy is, by a whole URL"
    if scope["http_version"] == "1.0":
        return "this request came by HTTP/1.0, which proxies speak"
    for name, value in headers:
        if PASSED_ON.fullmatch(name):
            return f"this request was passed on for another ({name.decode('latin-1')})"
        if (name == b"sec-fetch-site" and value.strip() == "cross-site") or (name == b"origin" and not _is_local_origin(value)):
            return f"this request was made by a page of another site ({name.decode('latin-1')})"
    return None


def _is_local(authority: str) -> bool:
    return (authority if authority.endswith("]") else authority.rpartition(":")[0] or authority) in NAMES


def _is_local_origin(origin: str) -> bool:
    try:
        return _is_local(urlsplit(origin.strip()).netloc)
    except ValueError:
        return False
