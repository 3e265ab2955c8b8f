"""The error of a request whose body is not accepted."""


class BodyRefused(Exception):
    """A body that is not accepted; `status` is HTTP's, the message says what to do."""

    def __init__(self, status: int, problem: str) -> None:
        self.status = status
        super().__init__(problem)
