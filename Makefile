# The few commands a person needs. Each builds .venv from the pinned constraints first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SIZE ?= 60000

export DAGSTER_DISABLE_TELEMETRY := yes
export DO_NOT_TRACK := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test ui lint bench faults docs clean

help:  ## list these commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(STAMP): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { \
		echo "make: Python 3.11 to 3.13 is needed; install it, or say make PYTHON=/path/to/it" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "building $(VENV) from constraints.txt (two to three minutes, once)"
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)  ## 90 days of simulated events: ingest, run every partition, publish, summary
	@$(BIN)/tidemark demo --size $(SIZE)

test: $(STAMP)  ## the whole test suite, Postgres included
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

ui: $(STAMP)  ## Dagster webserver and daemon on loopback
	@$(BIN)/tidemark ui

lint: $(STAMP)  ## ruff, mypy, sqlfluff and the contracts
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy ingest orchestration expectations
	@$(BIN)/tidemark contracts check
	@cd dbt_project && TIDEMARK_DUCKDB_PATH=:memory: DBT_TARGET_PATH=../data/lint ../$(BIN)/sqlfluff lint --disable-progress-bar models

bench: $(STAMP)  ## speed beside what else there is, as ratios (hours; it says how many first)
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	@$(BIN)/python -m tests.benchmarks

faults: $(STAMP)  ## the long form of the proofs that nothing is lost under faults (hours)
	@$(BIN)/python -m tests.faults --long

docs: $(STAMP)  ## the catalogue of events and of models, into data/docs
	@$(BIN)/tidemark contracts export --format markdown --out data/docs/events
	@$(BIN)/tidemark dbt docs generate --static

clean:  ## remove the environment and everything the project wrote
	rm -rf $(VENV) data
