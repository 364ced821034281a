# `make` lists what it can do. Nothing but Python >= 3.11, make and git is needed beforehand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint types protos protos-fresh protos-keep bench bench-directory conformance clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --upgrade pip && $(BIN)/pip install --quiet -e '.[dev]'
	@touch $@

setup: $(READY) ## make the virtual environment with all that the other targets need

demo: setup ## a directory, three users, real transfers, before your eyes
	@$(BIN)/python tools/demo.py

test: setup ## all tests; much of their time is waiting, so more at once than cores
	@$(BIN)/python -m pytest -q -n 4 --dist worksteal

check: lint types protos-fresh protos-keep test ## what CI runs: lint, types, protos fresh and compatible, tests

lint: setup ## ruff and buf
	@$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/buf lint && $(BIN)/buf format -d --exit-code

types: setup ## mypy --strict
	@$(BIN)/mypy

protos: setup ## generate the typed stubs in generated/ from proto/
	@$(BIN)/python tools/generate_protos.py

protos-fresh: setup
	@$(BIN)/python tools/generate_protos.py --check

protos-keep: setup
	@$(BIN)/python tools/check_breaking.py

bench: setup ## measure beside other programs; writes docs/performance.md (ARGS="--quick" tries it)
	@$(BIN)/python -m bench $(ARGS)

bench-directory: setup ## measure what a directory bears; writes docs/performance.md
	@$(BIN)/python -m bench.directory $(ARGS)

conformance: setup ## Python, Go and Node download from each other: nine pairs, in MB/s
	@$(BIN)/python -m tests.conformance $(WRITE)

clean: ## remove what the targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
