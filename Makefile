# make demo    trains small versions of all five stages on synthetic digits; nothing but packages is downloaded
# make test    runs the tests
# make lint    checks style
# Each does all its set-up, in .venv/.

# The newest Python that is supported; a name may be there and not work, as pyenv's are.
PYTHON ?= $(shell for name in python3.14 python3.13 python3.12 python3.11 python3.10 python3 python; do \
	$$name -c 'import ensurepip, sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null \
	&& echo $$name && break; done)
PY := .venv/bin/python

.PHONY: demo test lint
.DELETE_ON_ERROR:

demo: .venv/installed
	$(PY) tests/demo.py

test: .venv/installed-tests
	$(PY) -m pytest -n auto -m "not slow" --ignore tests/instructors

lint: .venv/installed-tests
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

.venv/installed: requirements.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.10 to 3.14 found; name one: make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/installed-tests: .venv/installed tests/requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	touch $@

-include tests/instructors/targets.mk
