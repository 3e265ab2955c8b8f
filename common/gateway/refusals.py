"""What keeps a request from being taken at all."""


class Unreadable(Exception):
    """A body that cannot be taken; `status` is HTTP's, the message says what to do."""

    def __init__(self, status: int, problem: str) -> None:
        self.status = status
        super().__init__(problem)
