"""Makes the input of both programs: log lines, as they came second by second."""

import json

SECONDS = 8
WINDOW = 3  # seconds
LEVELS = ("INFO", "DEBUG", "INFO", "WARN", "INFO", "ERROR")
UNREADABLE = "UNREADABLE"


def lines_of(second: int) -> list[str]:
    """The lines of one second: one more with each second, and every seventh of all of them broken."""
    numbers = range(second * 10, second * 10 + 5 + second)
    return ["broken" if number % 7 == 0 else json.dumps({"level": LEVELS[number % 6], "message": f"{number}"})
            for number in numbers]  # fmt: skip
