# Needs make and Python 3.11 or newer. Every target does its own set-up in .venv, and again only what changed.
PYTHON ?= python3
VERTICAL ?= finance_fraud
FOR ?= 60s
# Processes that share the tests, a file at a time, in the order in which they are named: a long one at the end would leave the
# others nothing to do. Each has a Spark session and a broker of its own; one more than there are cores, as many tests wait.
WORKERS ?= 3
# Debian's packages of programs that tests start: installed where make runs as root on Debian, else those tests are not run.
PROGRAMS = gcc libc6-dev util-linux

VENV_PYTHON = .venv/bin/python
PYTEST = $(VENV_PYTHON) -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
HEAVY = tests/conformance tests/faults tests/broker tests/files
VERTICALS = finance_fraud retail_behavior health_monitoring telecom_anomaly
# Written last of all, so that a set-up cut short is taken up again. It names this folder: after a move, scripts are stale.
INSTALLED = .venv/installed
# While this is there, a package may be half in place, so the environment is made anew (from pip's cache, hence fast).
UNFINISHED = .venv/unfinished
JARS = .venv/jars
# Files from which Java has its classes at once: see common/embedded/class_data.py.
CLASSES = .venv/classes

.PHONY: help setup run examples test lint newcomer programs test-fast test-files test-broker test-faults test-vertical test-long test-planted \
	test-times bench docs lock clean FORCE
.NOTPARALLEL:

help:
	@echo 'make run        a minute of $(VERTICAL), end to end (VERTICAL=name FOR=90s change that)'
	@echo 'make examples   small programs, one idea each: all of them, some minutes'
	@echo 'make test       lint, then all tests'
	@echo 'make test-fast  the tests that need no Java: a minute; test-files, test-broker, test-faults: one layer'
	@echo 'make test-vertical VERTICAL=name: what names a vertical; test-long: what is run at the close of a large step'
	@echo 'make test-planted  faults planted on purpose, each to be found; test-times: where the time of make test goes'
	@echo 'make lint       ruff, mypy, and whether docs/reference says what the code says'
	@echo 'make docs       docs/reference anew from the code'
	@echo 'make newcomer   make run as on a machine without Java, in a fresh clone'
	@echo 'make bench      latency and throughput on this machine'
	@echo 'make setup      only what the others need: .venv, locked packages, jars'
	@echo 'make lock       requirements.lock anew from pyproject.toml (needs uv)'
	@echo 'make clean      removes .venv and caches; your data stays'

setup: $(INSTALLED) $(JARS) $(CLASSES)

# Without $(CLASSES): who comes to see one run would wait for them longer than it then starts earlier.
run: $(INSTALLED) $(JARS)
	.venv/bin/hybrid run $(VERTICAL) --for $(FOR)

examples: $(INSTALLED) $(JARS)
	for each in examples/*/__main__.py; do .venv/bin/hybrid examples $$(basename $$(dirname $$each)) || exit 1; done

# The quick ones first: if they fail, that is all. Then those that keep the cores busy, beside those that mostly wait.
test: lint test-fast programs setup
	$(PYTEST) $(HEAVY)

test-fast: $(INSTALLED)
	$(PYTEST) tests/fast

test-files: setup
	$(PYTEST) tests/conformance tests/files

test-broker: setup
	$(PYTEST) tests/broker

test-faults: programs setup
	$(PYTEST) tests/faults

test-vertical: setup
	$(PYTEST) tests -k "$(VERTICAL) or $(firstword $(subst _, ,$(VERTICAL)))"

test-planted: setup
	$(VENV_PYTHON) tests/planted_faults.py

# At the close of a large step, an hour or two. What it said last is kept in docs/tests.md.
test-long: test-planted programs setup
	$(PYTEST) -m long tests
	for vertical in $(VERTICALS); do .venv/bin/hybrid chaos $$vertical --data .venv/chaos || exit 1; done

test-times: programs setup
	rm -rf .venv/test-times
	mkdir .venv/test-times
	for tests in tests/fast "$(HEAVY)"; do \
	  TEST_TIMES=$(CURDIR)/.venv/test-times PYTHONPATH=tests/times $(PYTEST) -p recorder $$tests || exit 1; done
	$(VENV_PYTHON) tests/times/report.py .venv/test-times >docs/test-times.md

programs:
	@dpkg-query --show $(PROGRAMS) >/dev/null 2>&1 || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends $(PROGRAMS); } || echo 'Not installed: $(PROGRAMS)'

lint: $(INSTALLED)
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy
	.venv/bin/lint-imports
	$(VENV_PYTHON) -m deptry .
	$(VENV_PYTHON) docs/generate.py --check

docs: $(INSTALLED)
	$(VENV_PYTHON) docs/generate.py

newcomer:
	tests/newcomer.sh make run

bench: setup
	.venv/bin/hybrid bench

ifneq "$(shell cat $(INSTALLED) 2>/dev/null)" "$(CURDIR)"
$(INSTALLED): FORCE
endif
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'Python 3.11 or newer is needed; "$(PYTHON)" is:' >&2; $(PYTHON) --version >&2; \
	  echo 'Install one, and if it has another name: make PYTHON=python3.12 ...' >&2; exit 1; }
	@rm -f $(INSTALLED) $(JARS) $(CLASSES)
	@echo 'Set-up: packages into .venv; a few minutes the first time'
	@{ test ! -e $(UNFINISHED) && $(VENV_PYTHON) -m pip --version >/dev/null 2>&1; } || $(PYTHON) -m venv --clear .venv
	@touch $(UNFINISHED)
	$(VENV_PYTHON) -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	$(VENV_PYTHON) -m pip install --disable-pip-version-check --no-build-isolation --no-deps --quiet -e .
	@rm $(UNFINISHED)
	@printf '%s\n' "$(CURDIR)" >$(INSTALLED)

# Whatever needs jars looks for them itself; here they are fetched ahead, with their progress shown.
$(JARS): $(INSTALLED) common/embedded/jars.sha256
	.venv/bin/hybrid setup
	@touch $(JARS)

$(CLASSES): $(JARS)
	.venv/bin/hybrid setup --classes
	@touch $(CLASSES)

# Versions and hashes for every platform and Python, without addresses, in a form that plain pip reads.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --all-extras --no-header \
	  --no-emit-index-url -o requirements.lock pyproject.toml

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find common finance_fraud retail_behavior health_monitoring telecom_anomaly loadtests tests -name __pycache__ -type d -prune -exec rm -rf {} +
