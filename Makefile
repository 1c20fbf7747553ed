# The project's commands. Everything they create is in .venv, .demo, .bench and .mutants, and in the tools' caches, all
# of it below this directory.

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

# The tests start hundreds of interpreters: none of them shall compile again what the one before has compiled.
unexport PYTHONDONTWRITEBYTECODE

# tests/conftest.py says how many processes, which tests have to share one, and which begin first.
PARALLEL := -n logical --maxprocesses=8 --dist loadgroup --no-loadscope-reorder

# What .venv must have been made from: this place (scripts hold absolute paths) and this lock. The copy inside
# .venv is written last, so an interrupted installation is known by its absence.
WANTED := { pwd -P; cat requirements.lock; }
STAMP := .venv/installed-from

.DEFAULT_GOAL := help
.PHONY: help install demo serve test test-fast test-matrix mutants lint bench bench-full docs lock clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-10s %s\n' "$$name" "$$text"; done

install: ## create .venv with everything the project needs; the other commands call it
	@if $(WANTED) | cmp -s - $(STAMP) && $(BIN)/python -c ''; then exit 0; fi; \
	set -e; \
	command -v "$(PYTHON)" >/dev/null || { \
		echo "error: there is no $(PYTHON); name a Python 3.10 or newer: make install PYTHON=/path/to/python3"; exit 1; } >&2; \
	"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "error: $(PYTHON) is $$("$(PYTHON)" -V 2>&1); Python 3.10 or newer is needed: make install PYTHON=/path/to/python3"; exit 1; } >&2; \
	"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "error: $(PYTHON) cannot create environments, its module venv or ensurepip is missing."; \
		echo "Install it (on Debian and Ubuntu: apt install python3-venv), or name another Python: make install PYTHON=/path/to/python3"; exit 1; } >&2; \
	echo "installing into .venv (about a minute, once) …"; \
	rm -rf .venv; \
	"$(PYTHON)" -m venv .venv; \
	PIP_USER=0 $(BIN)/python -m pip install -qq --disable-pip-version-check --no-cache-dir --no-deps --require-hashes -r requirements.lock; \
	$(WANTED) > $(STAMP).tmp; \
	mv $(STAMP).tmp $(STAMP)

demo: install ## make one backup in a complete environment of its own, show it, stop everything (PORT=8080, STORE=s3)
	@PYTHONPATH=plugins $(BIN)/python -m demo

serve: install ## the same, and Airflow stays up until Ctrl-C (PORT=8080)
	@PYTHONPATH=plugins $(BIN)/python -m demo serve

test: install ## run all tests, on all cores; ARGS="…" goes to pytest
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-fast: install ## run the quick tests only, in three minutes: unit and engine, no kills, races, memory, drills, Airflow
	@$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not apart" $(or $(ARGS),tests/unit tests/engine)

test-matrix: install ## run a short suite on other versions of Airflow, Python, psycopg, PostgreSQL, into docs/versions.md
	@$(BIN)/python -m matrix $(ARGS)

mutants: install ## change one thing at a time where a wrong line loses data, and ask the tests; into docs/mutants.md
	@$(BIN)/python -m mutants $(ARGS)

lint: install ## check style, types and import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PYTHONPATH=plugins $(BIN)/lint-imports

bench: install ## compare speed and memory with other ways, in minutes, into bench/RESULTS.md; ARGS="--help" for more
	@PYTHONPATH=plugins $(BIN)/python -m bench $(ARGS)

bench-full: install ## the same with larger tables, more rounds and every connection, in about an hour
	@PYTHONPATH=plugins $(BIN)/python -m bench --full $(ARGS)

docs: install ## write the reference pages of docs/ anew from the code
	@PYTHONPATH=plugins $(BIN)/python docs/generate.py

lock: install ## write requirements.lock anew from requirements.txt
	$(BIN)/uv pip compile -q --no-cache --universal --generate-hashes --python-version 3.10 --no-annotate --no-header requirements.txt -o requirements.lock

clean: ## remove everything the other commands created, the demo's backups too
	rm -rf .venv .demo .bench .matrix .mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
