"""Decides, for each of the gateway's answers, in which row of the load test it counts and whether it is a failure."""

PROBLEMS = {
    0: ("no answer", "no answer: the connection was refused, cut or timed out"),
    401: ("401 no token", "401: give a token in LOAD_TOKEN"),
    403: ("403 no right", "403: the token in LOAD_TOKEN has no right to send this vertical's events"),
    413: ("413 too large", "413: send fewer events at a time (--batch)"),
    429: ("429 throttled", "429: the gateway asks for fewer requests a second"),
    503: ("503 unavailable", "503: the gateway's broker is away"),
}


def classify_answer(status: int, flawed_events: int) -> tuple[str, str | None]:
    """The name of an answer in the figures, and what is wrong with it (None: it is as it should be).

    flawed_events: how many of the request's events the generator broke on purpose.
    """
    if status == 202:
        return "202 accepted", None
    if status == 422:
        return "422 refused", None if flawed_events else "422: an event that meets the contract was refused"
    return PROBLEMS.get(status, (str(status), f"unexpected answer {status}"))
