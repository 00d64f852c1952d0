# Two commands matter: `make serve` and `make test`. They need make and Python 3.11 or newer, nothing else.
SHELL   := /bin/bash
PORT    ?= 8000
RP_PORT ?= 9000
ARGS    ?=
BIN     := .venv/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check install --quiet
export PATH := $(CURDIR)/$(BIN):$(PATH)
# An upgraded system may have taken away the interpreter under an old .venv.
$(if $(wildcard .venv),$(shell $(BIN)/python -c '' 2>/dev/null || rm -rf .venv))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve test check format bench fuzz image-check clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# ── The two commands ────────────────────────────────────────────────────────────────────────────────────────────────
serve: .venv/serve.stamp ## Run Lab ID with demo data (PORT=8000 RP_PORT=9000)
	@$(BIN)/python -c "$$PORTS_ARE_FREE" $(PORT) $(RP_PORT)
	@exec $(BIN)/idp serve --demo --port $(PORT) --rp-port $(RP_PORT)

test: .venv/test.stamp ## Run the whole suite; ARGS="-k login" passes pytest arguments and leaves out the coverage floor
	@$(BIN)/python tests/prerequisites.py test
ifeq ($(strip $(ARGS)),)
	$(BIN)/pytest -n logical --maxprocesses=8 --dist loadgroup --cov=idp --cov-branch --cov-report=json:var/coverage.json
	@$(BIN)/python tests/coverage_floor.py var/coverage.json
else
	$(BIN)/pytest $(ARGS)
endif

# ── Around them ─────────────────────────────────────────────────────────────────────────────────────────────────────
check: .venv/test.stamp ## Check format, lint, types, layers and the house rules
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/test_house.py

format: .venv/test.stamp ## Format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/test.stamp ## Compare the hot path with npm oidc-provider (ARGS= are passed on)
	@$(BIN)/python tests/prerequisites.py bench
	$(BIN)/python tests/bench/run.py $(ARGS)

fuzz: .venv/test.stamp ## Send bad input for long, with hypothesis' profile "fuzz"
	HYPOTHESIS_PROFILE=fuzz $(BIN)/pytest --timeout=0 tests/flows/test_bad_input.py $(ARGS)

image-check: ## Build the container image, start it and wait until it is healthy (needs docker)
	docker build --tag lab-id:check .
	docker run --rm lab-id:check --version
	@id=$$(docker run --detach --health-interval=1s lab-id:check) && trap "docker rm --force --volumes $$id >/dev/null" EXIT && \
	for _ in {1..60}; do \
	  [ "$$(docker inspect --format '{{.State.Health.Status}}' $$id)" = healthy ] && echo "The image is healthy." && exit 0; sleep 1; \
	done; docker logs $$id; echo "The image did not become healthy within a minute."; exit 1

clean: ## Remove .venv, caches, builds and the demo's data; never var/idp.db
	rm -rf .venv var/demo var/bench var/coverage.json dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage*
	rm -rf tests/relying_parties/node_modules tests/bench/peer/node_modules
	find idp migrations tests -name __pycache__ -type d -prune -exec rm -rf {} +

# ── The virtual environment ─────────────────────────────────────────────────────────────────────────────────────────
# A stamp is older than pyproject.toml exactly when something has to be installed again.
.venv/serve.stamp: pyproject.toml | $(BIN)/python
	@echo "Installing Lab ID into .venv (about a minute the first time) …"
	@$(PIP) --editable .
	@touch $@

.venv/test.stamp: pyproject.toml | $(BIN)/python
	@echo "Installing Lab ID and its test tools into .venv (a few minutes the first time) …"
	@$(PIP) --editable '.[test]'
	@touch .venv/serve.stamp $@

# Debian ships ensurepip, without which a virtual environment has no pip, in a package of its own.
$(BIN)/python:
	@for python in python3.14 python3.13 python3.12 python3.11 python3; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  "$$python" -c 'import ensurepip, venv' 2>/dev/null || { without="$${without:-$$python}"; continue; }; \
	  echo "Creating .venv with $$($$python --version) …"; \
	  "$$python" -m venv --clear .venv || { rm -rf .venv; exit 1; }; exit 0; \
	done; \
	if [ -n "$$without" ]; then \
	  echo "$$without cannot create a virtual environment: its ensurepip module is missing."; \
	  echo "On Debian and Ubuntu install it, then try again:  apt-get install $${without}-venv"; \
	else \
	  echo "Lab ID needs Python 3.11 or newer, and none of python3.14, python3.13, python3.12, python3.11, python3 is."; \
	fi >&2; exit 1

define PORTS_ARE_FREE
import socket, sys
held = []
for port in map(int, sys.argv[1:]):
    held.append(socket.socket())
    held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held[-1].bind(("127.0.0.1", port))
        held[-1].listen()
    except OSError as error:
        sys.exit(f"Port {port} cannot be used: {error.strerror}.\nChoose others:  make serve PORT={port + 80} RP_PORT={port + 81}")
endef
export PORTS_ARE_FREE
