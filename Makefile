# Thin names over the tools. Needs Python 3.11 or newer and make, nothing else.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3; do command -v $$name && break; done)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help run test check bench proto format clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

run: $(READY) ## start Berth on 127.0.0.1: gRPC on port 50051, REST on port 8080
	@exec $(BIN)/berth up --banner

test: $(READY) ## run every test, against a real Envoy
	@$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term

check: $(READY) ## format, lint, types, proto rules, generated code fresh, architecture
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python proto/generate.py --check
	@$(BIN)/python -m pytest -q --no-header tests/test_architecture.py

bench: $(READY) ## measure Berth beside an empty handler, one that counts bytes, and before a provider
	@$(BIN)/python bench/retrieve_file.py
	@$(BIN)/python bench/uploads.py
	@$(BIN)/python bench/passthrough.py
	@$(BIN)/python bench/strangers.py

proto: $(READY) ## generate service/berth/v1 from proto/
	@$(BIN)/python proto/generate.py

format: $(READY) ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## remove the environment and all caches, but not .berth
	rm -rf .venv .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache

# .ready is made last, and only by an installation that succeeded: one that was interrupted is done again.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Berth needs Python 3.11 or newer, and there is none on PATH" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Berth needs Python 3.11 or newer; this is " + sys.version.split()[0])'
	@echo "berth: making .venv and installing into it (about a minute, once)" >&2
	@rm -f $(READY)
	@$(PYTHON) -m venv .venv
	@{ $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]' 2>&1 && touch $(READY); } \
		| tee .venv/install.log \
		| awk '/^(Collecting|Installing|Successfully)/ {print "  " substr($$0, 1, 100); fflush()}' >&2
	@test -f $(READY) || { cat .venv/install.log >&2; exit 1; }
