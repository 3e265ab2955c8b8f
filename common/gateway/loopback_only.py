"""Tells requests of this machine from those that came through a proxy or a web page: an open gateway serves only the former."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from common.gateway.protocol import TARGET_EXTENSION

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
# Fields that a proxy adds: its client may be anybody. Each maker has names of its own, which begin or end alike.
PROXY_FIELDS = re.compile(
    rb"forwarded|via|cdn-loop|max-forwards|client-ip|.+-(client|real|connecting)-ip"
    rb"|(x-forwarded|x-original|x-proxy|proxy|cf|x-envoy|x-amzn?|x-azure|x-arr|x-appengine|fly|fastly)-.+"
)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host, an address or `localhost`."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def reason_not_local(scope: Mapping[str, Any]) -> str | None:
    """The sign that another machine or a page made the request, or that a proxy passed it on; None: there is none."""
    headers = [(name.lower().replace(b"_", b"-"), value.decode("latin-1").lower()) for name, value in scope["headers"]]
    hosts = [value for name, value in headers if name == b"host"]
    # A page in a browser of this machine may point a name of its own at 127.0.0.1; the Host field then holds that name.
    if len(hosts) != 1 or not _is_local(hosts[0]):
        return "it is asked by the name localhost or 127.0.0.1, given once"
    if not scope.get("extensions", {}).get(TARGET_EXTENSION, b"/").startswith(b"/"):
        return "it was asked as a proxy is, by a whole URL"
    if scope["http_version"] == "1.0":
        return "this request came by HTTP/1.0, which proxies speak"
    for name, value in headers:
        if PROXY_FIELDS.fullmatch(name):
            return f"this request was passed on for another ({name.decode('latin-1')})"
        if (name == b"sec-fetch-site" and value.strip() == "cross-site") or (name == b"origin" and not _is_local_origin(value)):
            return f"this request was made by a page of another site ({name.decode('latin-1')})"
    return None


def _is_local(authority: str) -> bool:
    return (authority if authority.endswith("]") else authority.rpartition(":")[0] or authority) in LOOPBACK_NAMES


def _is_local_origin(origin: str) -> bool:
    try:
        return _is_local(urlsplit(origin.strip()).netloc)
    except ValueError:
        return False
