"""Defines requests for seats, the answers to them, and the stock that keeps the one rule: no seat is sold that does not exist."""

import json
from typing import NamedTuple

CAPACITY = {"opera": 900, "final": 2_500, "comedy": 300, "ballet": 2_000}  # seats of each show
GRANTED, REFUSED = "granted", "refused"


class Request(NamedTuple):
    """A request for so many seats of a show; time in epoch milliseconds."""

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
    """The answer to a request: all of its seats are granted, or none. free_seats: of the show after it."""

    request_id: str
    show: str
    seats: int
    status: str
    free_seats: int
    time: int

    @classmethod
    def from_json(cls, value: bytes) -> "Reservation":
        return cls(**json.loads(value))

    def to_json(self) -> bytes:
        return json.dumps(self._asdict()).encode()


class Stock:
    """The free seats of the shows of some partitions. Only the seller that reads those partitions changes it."""

    def __init__(self) -> None:
        self._free_seats: dict[str, int] = dict(CAPACITY)

    def decide(self, request: Request) -> Reservation:
        """Answer one request, and take its seats if they are granted."""
        free_seats = self._free_seats.get(request.show, 0)
        is_granted = 0 < request.seats <= free_seats
        free_seats -= request.seats if is_granted else 0
        self._free_seats[request.show] = free_seats
        status = GRANTED if is_granted else REFUSED
        return Reservation(request.request_id, request.show, request.seats, status, free_seats, request.time)

    def restore(self, answer: Reservation) -> None:
        """Take over an answer that another seller gave before."""
        self._free_seats[answer.show] = answer.free_seats
