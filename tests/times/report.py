"""Where the tests' time goes: a page of tables, from what `recorder` and `sitecustomize` wrote down.

python tests/times/report.py FOLDER >docs/test-times.md
"""

import json
import os
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path

SLOWEST = 40
LAYERS = ("fast", "files", "conformance", "broker", "faults")
JAVA = {
    "cpu": "processor time in all",
    "rules": "planning: rules of analysis and optimisation",
    "generated": "writing and compiling queries",
    "compiled": "Java's compiler",
    "collected": "garbage collection, pauses",
}


def read(folder: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def table(head: tuple[str, ...], rows: list[tuple]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def layer_of(test: str) -> str:
    return test.split("/")[1]


def by_layer(tests: list[dict]) -> str:
    rows = []
    for layer in LAYERS:
        own = [test for test in tests if layer_of(test["test"]) == layer]
        rows.append((layer, len(own), *(f"{sum(test[field] for test in own):,.0f}" for field in ("seconds", "cpu", "slept"))))
    return table(("layer", "tests", "seconds, one after another", "processor seconds", "of it asleep in a test"), rows)


def by_cause(rows: list[dict]) -> str:
    starts = [
        (f"{kind}s started and waited for", len(seconds), f"{sum(seconds):,.0f}")
        for kind in ("session", "broker")
        if (seconds := [row["seconds"] for row in rows if row["kind"] == kind])
    ]
    sparks = [row for row in rows if row["kind"] == "spark" and "error" not in row]
    java = [(f"Spark's Java: {words}", len(sparks), f"{sum(row[name] for row in sparks):,.0f}") for name, words in JAVA.items()]
    return table(("what", "times", "seconds"), starts + java)


def by_file(tests: list[dict]) -> str:
    seconds: Counter[str] = Counter()
    cpu: Counter[str] = Counter()
    for test in tests:
        file = test["test"].partition("::")[0].removeprefix("tests/")
        seconds[file] += test["seconds"]
        cpu[file] += test["cpu"]
    return table(
        ("file", "seconds", "processor seconds"),
        [(file, f"{all_of:,.0f}", f"{cpu[file]:,.0f}") for file, all_of in seconds.most_common(SLOWEST)],
    )


def slowest(tests: list[dict]) -> str:
    ordered = sorted(tests, key=lambda test: -test["seconds"])[:SLOWEST]
    fields = ("seconds", "cpu", "slept")
    rows = [(test["test"].removeprefix("tests/"), *(f"{test[field]:.0f}" for field in fields)) for test in ordered]
    return table(("test", "seconds", "processor seconds", "asleep"), rows)


def main(folder: Path) -> None:
    rows = read(folder)
    tests = [row for row in rows if row["kind"] == "test"]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    print(f"""# Where the tests' time goes

Made by `make test-times` on {date.today()}, commit {commit}, {os.cpu_count()} cores. Tests run side by side, so seconds add up
to more than the run took. Processor seconds are those of the test's process and of what it started, as far as that had not been
killed; what the Java of a command does is in the second table where the command stopped its session.

## By layer
{by_layer(tests)}

## By cause
{by_cause(rows)}

## By file
{by_file(tests)}

## The slowest tests
{slowest(tests)}""")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
