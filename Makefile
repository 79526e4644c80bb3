# Firedoor's daily loop. A machine needs Python 3.11 or newer with its venv module, git and make.
# Everything else comes from the package index, pinned and hashed, into .uv/ and .venv/.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
BIN := .venv/bin
UV := .uv/bin/uv
TESTS ?=

export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1
# Where the system keeps certificates, those hold: a proxy may have one that only it knows.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export UV_SYSTEM_CERTS := 1
endif
export VIRTUAL_ENV := $(CURDIR)/.venv
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Without a home of its own to write to, uv keeps its downloads here.
ifneq ($(shell test -n "$$HOME" && test -w "$$HOME" && echo yes),yes)
export UV_CACHE_DIR := $(CURDIR)/.uv/cache
endif

.PHONY: help
help:  ## Show what can be made.
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "make %-16s %s\n", $$1, $$2}'

.PHONY: setup
setup: .venv/ready  ## Install everything into .venv.

.PHONY: demo
demo: .venv/ready  ## Live through two incidents, on this machine and without an AWS account.
	@$(BIN)/firedoor demo

.PHONY: check
check: .venv/ready  ## Check format, lint, types and layers.
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: test
test: .venv/ready  ## Run all tests; TESTS=path runs some.
	@$(BIN)/pytest -n 2 --dist loadfile $(TESTS)

.PHONY: faults
faults: .venv/ready  ## Let everything go wrong in every action, and print the table of it.
	@$(BIN)/pytest -n 2 --dist loadgroup tests/faults

.PHONY: bench-response
bench-response: .venv/ready  ## Measure how long a finding takes to its containment.
	@$(BIN)/python -m bench.response

.PHONY: bench-detect
bench-detect: .venv/ready  ## Measure how fast logs are read and asked.
	@$(BIN)/python -m bench.detect

.PHONY: score-detect
score-detect: .venv/ready  ## Count how right the detections are, on planted and on labelled logs.
	@$(BIN)/python -m bench.score

.PHONY: lock
lock: $(UV)  ## Pin the newest versions of all dependencies.
	$(UV) pip compile --quiet $(LOCK) --group bootstrap --output-file requirements/uv.txt
	$(UV) pip compile --quiet $(LOCK) pyproject.toml --extra lab --output-file requirements/runtime.txt
	$(UV) pip compile --quiet $(LOCK) pyproject.toml --extra lab --group dev --output-file requirements/dev.txt

LOCK := --universal --python-version 3.11 --generate-hashes --upgrade --no-header

.PHONY: clean
clean:  ## Remove everything that was made.
	rm -rf .uv .venv dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/ready: requirements/dev.txt pyproject.toml $(UV)
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
	@echo "Installing what requirements/dev.txt pins ..."
	@$(UV) pip sync --quiet --compile-bytecode --require-hashes requirements/dev.txt
	@$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(UV): requirements/uv.txt
	@$(if $(PYTHON),,echo "No Python was found: install Python 3.11, or name one with PYTHON=..." >&2; exit 1)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11: name a newer one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "$(PYTHON) lacks its venv module: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	@rm -rf .uv/bin .uv/lib
	@$(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install --quiet --require-hashes --requirement requirements/uv.txt
	@touch $@
