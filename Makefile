# Thin names over the tools. Needs Python 3.11 or newer and make, nothing else.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3; do command -v $$name && break; done)
BIN := .venv/bin
RUNNABLE := .venv/.runnable
READY := .venv/.ready
TOOLS := .venv/tools
SITE := .venv/site
# Without compiled modules each start of Berth, of which the tests make hundreds, would take a third longer.
unexport PYTHONDONTWRITEBYTECODE
# More would be faster, and let tests of times fail on a machine that others use, too.
AT_ONCE ?= $(shell getconf _NPROCESSORS_ONLN)

.PHONY: help run test coverage soak check bench bench-full proto generate format site wheel lock sbom audit clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

run: $(RUNNABLE) ## start Berth on 127.0.0.1: gRPC on port 50051, REST on port 8080
	@exec $(BIN)/berth up --banner --show-key

test: $(READY) ## run every test, against a real Envoy
	@$(BIN)/python -m pytest -n $(AT_ONCE) --dist worksteal $(ARGS)

coverage: $(READY) ## run every test while lines and branches are counted, which takes twice as long
	@$(MAKE) test ARGS="--cov --cov-report=term"

soak: $(READY) ## run the long forms of the fault tests, one at a time, and print their figures
	@BERTH_SOAK=1 $(BIN)/python -m pytest -s -m soak --timeout 3600

check: $(READY) ## format, lint, types, proto rules, generated code fresh, architecture, wording
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python proto/generate.py --check
	@$(BIN)/python docs/generate.py --check
	@$(BIN)/python -m pytest -q --no-header tests/test_architecture.py tests/test_wording.py

bench: $(READY) ## measure Berth beside what it is compared with, in about five minutes; see docs/performance.md for ARGS
	@PYTHONPATH=tests $(BIN)/python bench/main.py $(ARGS)

bench-full: $(READY) ## measure everything: all operations, PostgreSQL, large data, other proxies; takes about an hour
	@PYTHONPATH=tests $(BIN)/python bench/main.py --full $(ARGS)

proto: $(READY) ## generate service/berth/v1 from proto/
	@$(BIN)/python proto/generate.py

generate: proto ## generate everything that is generated: stubs, SQL, Envoy configurations, documents, parts of the chart, the dashboard
	@$(BIN)/python service/generate.py
	@$(BIN)/python envoy/generate.py
	@$(BIN)/python docs/generate.py
	@$(BIN)/python deploy/helm/generate.py
	@$(BIN)/python deploy/monitoring/generate.py

format: $(READY) ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

site: $(SITE)/.ready ## build the site of docs/ into build/site/html; with SOURCE=URL it links to the source tree there
	@$(SITE)/bin/python docs/site/build.py $(if $(SOURCE),--source $(SOURCE))

wheel: $(RUNNABLE) ## build the wheel of berth-containers into dist/
	@$(BIN)/python -m pip wheel --disable-pip-version-check -q --no-deps --no-build-isolation -w dist .

lock: $(TOOLS)/.ready ## write the locked requirements again; with UPGRADE=1 in the newest versions
	@$(BIN)/python requirements/generate.py $(if $(UPGRADE),--upgrade)

sbom: $(TOOLS)/.ready ## write dist/sbom.cdx.json, the list of what is installed to run Berth (CycloneDX)
	@mkdir -p dist
	@rm -rf .venv/sbom
	@$(BIN)/python -m venv --without-pip .venv/sbom
	@$(PIP) --python .venv/sbom/bin/python install -q --require-hashes -r requirements/run.txt
	@$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		-o dist/sbom.cdx.json .venv/sbom/bin/python
	@rm -rf .venv/sbom

audit: $(TOOLS)/.ready ## look for known vulnerabilities in the locked requirements
	@$(TOOLS)/bin/pip-audit --strict --require-hashes --disable-pip -r requirements/dev.txt -r requirements/tools.txt \
		-r requirements/site.txt

clean: ## remove the environment and all caches, but not .berth
	rm -rf .venv .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache

# Everything is installed in locked versions whose hashes are checked, then Berth itself, which needs no more.
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCKED := $(PIP) install --require-hashes -r
ITSELF := $(PIP) install --no-deps --no-build-isolation -e .

# A stamp is made last, and only by an installation that succeeded: an interrupted one is done again.
define install
@{ { $(1); } 2>&1 && touch $@; } \
	| tee .venv/install.log \
	| awk '/^(Collecting|Installing|Successfully)/ {print "  " substr($$0, 1, 100); fflush()}' >&2
@test -f $@ || { cat .venv/install.log >&2; exit 1; }
endef

$(RUNNABLE): pyproject.toml requirements/run.txt requirements/build.txt
	@test -n "$(PYTHON)" || { echo "Berth needs Python 3.11 or newer, and there is none on PATH" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Berth needs Python 3.11 or newer; this is " + sys.version.split()[0])'
	@echo "berth: installing into .venv (once)" >&2
	@rm -f $@ $(READY)
	@$(PYTHON) -m venv .venv
	$(call install,$(LOCKED) requirements/build.txt && $(ITSELF))

$(READY): $(RUNNABLE) requirements/dev.txt
	@echo "berth: installing the development tools into .venv (once)" >&2
	@rm -f $@
	$(call install,$(LOCKED) requirements/dev.txt)

$(TOOLS)/.ready: $(RUNNABLE) requirements/tools.txt
	@echo "berth: installing the tools of the supply chain into $(TOOLS) (once)" >&2
	@rm -rf $(TOOLS)
	@$(BIN)/python -m venv --without-pip $(TOOLS)
	$(call install,$(PIP) --python $(TOOLS)/bin/python install --require-hashes -r requirements/tools.txt)

$(SITE)/.ready: $(RUNNABLE) requirements/site.txt
	@echo "berth: installing what builds the site into $(SITE) (once)" >&2
	@rm -rf $(SITE)
	@$(BIN)/python -m venv --without-pip $(SITE)
	$(call install,$(PIP) --python $(SITE)/bin/python install --require-hashes -r requirements/site.txt)
