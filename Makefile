# `make help` lists the targets. Everything installs itself into .venv, once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help sweep ui promote report gpu test check
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

sweep: $(INSTALLED)  ## search 32 Vision Transformers on digits and register the best
	$(BIN)/python -m pipeline.sweep --trials 32 --dataset digits

ui: $(INSTALLED)  ## open the MLflow UI on http://127.0.0.1:5000
	$(BIN)/python -m pipeline.ui

promote: $(INSTALLED)  ## make the challenger on digits the champion, if it is proven better
	$(BIN)/python -m pipeline.promote --dataset digits

report: $(INSTALLED)  ## write the page of the newest sweep, one HTML file, into this folder
	$(BIN)/python -m pipeline.report

gpu: $(INSTALLED)  ## measure what only a GPU can show, in 30 minutes
	$(BIN)/python -m benchmarks.gpu

# Three processes on two cores: many a test waits for something to die. A process that crashes is not replaced: with
# `loadfile`, pytest-xdist may then wait forever for tests that it gave to nobody (its issue 1378). Threads that wait for
# each other leave the core to other tests, else a training on two threads takes four times as long beside them.
test: export OMP_WAIT_POLICY = passive
test: $(INSTALLED)  ## run all tests
	$(BIN)/python -m pytest -q --durations 40 -n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

check: $(INSTALLED)  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
