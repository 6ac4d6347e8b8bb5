# `make demo` and `make test` do all set-up on a machine with Python 3.11+ and make.
# uv goes into a folder of the project, because a stock Debian refuses system-wide pip.
SHELL := /bin/sh
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := $(UV) run --quiet

.PHONY: demo test lint docs setup

setup: .venv/.ready

$(UV):
	$(PYTHON) -m venv .uv && .uv/bin/pip install --quiet uv \
	|| $(PYTHON) -m pip install --quiet --target .uv uv

# --inexact, so that a plugin that somebody installed stays.
.venv/.ready: pyproject.toml | $(UV)
	$(UV) sync --quiet --inexact
	touch $@

demo: setup
	$(RUN) bench run --method hardpos --data synthetic

test: setup
	OMP_NUM_THREADS=1 $(RUN) pytest -n 2 --dist worksteal

lint: setup
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

docs: setup
	$(RUN) sphinx-build -q -W --keep-going docs build/docs
