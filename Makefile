# Everything a machine with Python 3.11 or newer and make needs. `make serve` and `make test` set up what is missing.

PYTHON ?= python3
VENV     := .venv
BIN      := $(VENV)/bin
PACKAGES := examples/resource_server/node tests/clients

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: serve
serve: $(VENV)/.runtime web/static/.built ## Set everything up, then serve on http://127.0.0.1:8000.
	@$(BIN)/watchword serve

.PHONY: test
test: $(VENV)/.dev web/static/.built $(PACKAGES:=/node_modules/.installed) ## Set everything up, then run every check and every test.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n auto --dist worksteal

.PHONY: bench
bench: $(VENV)/.dev ## Measure what tokens cost, and compare with the stack of Strawberry's docs; see bench/RESULTS.md.
	@$(BIN)/python -m bench.tokens
	@$(BIN)/python -m bench

.PHONY: format
format: $(VENV)/.dev ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: sdl
sdl: $(VENV)/.runtime ## Write schema/schema.graphql anew.
	$(BIN)/python -m cli schema print > schema/schema.graphql

.PHONY: front-end
front-end: web/static/.built ## Build the front end.

.PHONY: lock
lock: $(VENV)/.dev ## Lock the newest versions that pyproject.toml allows, with hashes.
	$(BIN)/uv pip compile $(LOCK) pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile $(LOCK) pyproject.toml --group pyproject.toml:dev --constraint requirements/runtime.txt -o requirements/dev.txt
	$(BIN)/uv pip compile $(LOCK) --group pyproject.toml:build --constraint requirements/runtime.txt -o requirements/build.txt
	$(BIN)/uv pip compile $(LOCK) --group pyproject.toml:node -o requirements/node.txt

.PHONY: clean
clean: ## Remove everything that was set up or built; the data folder stays.
	rm -rf $(VENV) .node web/static dashboard/node_modules $(PACKAGES:=/node_modules)

LOCK := --quiet --universal --generate-hashes --no-emit-index-url --no-header --upgrade --python-version 3.11

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Watchword needs Python 3.11 or newer; name one with make PYTHON=…")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml | $(VENV)/bin/python
	@echo 'Installing what pyproject.toml asks for; this takes a minute, once.'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

%/node_modules/.installed: %/package-lock.json | $(VENV)/bin/python
	cd $* && $(CURDIR)/scripts/with_node npm ci --no-audit --no-fund --no-update-notifier --loglevel=error
	@touch $@

web/static/.built: $(shell find dashboard -type f -not -path '*/node_modules/*') | $(VENV)/bin/python
	cd dashboard && ../scripts/with_node npm ci --no-audit --no-fund --no-update-notifier --loglevel=error
	cd dashboard && ../scripts/with_node npm run build --silent
	@touch $@
