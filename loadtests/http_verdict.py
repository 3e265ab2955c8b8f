"""What the gateway's answers mean for a load test."""

PROBLEMS = {
    0: ("no answer", "no answer: the connection was refused, cut or timed out"),
    401: ("401 no token", "401: give a token in LOAD_TOKEN"),
    403: ("403 no right", "403: the token in LOAD_TOKEN has no right to send this vertical's events"),
    413: ("413 too large", "413: send fewer events at a time (--batch)"),
    429: ("429 throttled", "429: the gateway asks for fewer"),
    503: ("503 unavailable", "503: the gateway's broker is away"),
}


def verdict(status: int, flawed: int) -> tuple[str, str | None]:
    """What an answer is called in the figures, and what is wrong with it (None: it is as it should be).

    flawed: how many of the request's events the generator broke on purpose.
    """
    if status == 202:
        return "202 accepted", None
    if status == 422:
        return "422 refused", None if flawed else "422: an event that meets the contract was refused"
    return PROBLEMS.get(status, (str(status), f"unexpected answer {status}"))
