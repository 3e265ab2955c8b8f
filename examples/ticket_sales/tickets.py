"""What is asked for, what is answered, and the one rule: nobody gets a seat that is not there."""

import json
from typing import NamedTuple

CAPACITY = {"opera": 900, "final": 2_500, "comedy": 300, "ballet": 2_000}  # seats of each show
GRANTED, REFUSED = "granted", "refused"


class Request(NamedTuple):
    """Somebody wants so many seats of a show; time in epoch milliseconds."""

    request_id: str
    show: str
    seats: int
    time: int

    @classmethod
    def from_json(cls, value: bytes) -> "Request":
        return cls(**json.loads(value))

    def to_json(self) -> bytes:
        return json.dumps(self._asdict()).encode()


class Reservation(NamedTuple):
    """The answer to a request: all of its seats, or none. left: seats of the show that are free after it."""

    request_id: str
    show: str
    seats: int
    status: str
    left: int
    time: int

    @classmethod
    def from_json(cls, value: bytes) -> "Reservation":
        return cls(**json.loads(value))

    def to_json(self) -> bytes:
        return json.dumps(self._asdict()).encode()


class Stock:
    """Seats that are free, of the shows of some partitions. It has one writer: whoever reads those partitions."""

    def __init__(self) -> None:
        self._left: dict[str, int] = dict(CAPACITY)

    def decide(self, request: Request) -> Reservation:
        """Answer one request, and keep in mind what was answered."""
        left = self._left.get(request.show, 0)
        is_granted = 0 < request.seats <= left
        left -= request.seats if is_granted else 0
        self._left[request.show] = left
        status = GRANTED if is_granted else REFUSED
        return Reservation(request.request_id, request.show, request.seats, status, left, request.time)

    def recall(self, answered: Reservation) -> None:
        """Take over what was answered before."""
        self._left[answered.show] = answered.left
