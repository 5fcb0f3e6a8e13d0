# Headrace. Needs Python 3.11 and make; everything else is fetched into .venv and .venv-model. `make help` lists the verbs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
UV := .venv/bin/uv
COMPILE := $(UV) pip compile --quiet --generate-hashes --no-emit-index-url --python-version 3.11 --python-platform x86_64-manylinux_2_35
PROTOS_OUT := libs
export UV_HTTP_TIMEOUT ?= 300
# As pip does: a company's own authority is trusted where the machine trusts it.
export UV_SYSTEM_CERTS ?= 1
# An environment that happens to be active is not the one meant here.
unexport VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help install model-env protos protos-land minio lint types test test-unit test-connected test-cluster test-storm demo experiment bench up down lock clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/.installed ## fetch what services and tests need into .venv
model-env: .venv-model/.installed ## fetch what the model side needs into .venv-model (6 GB)

# pip fetches uv as the lock file names it; uv fetches the rest of the lock file.
.venv/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "error: neither python3.11 nor python3 is a Python 3.11: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	"$(PYTHON)" -m venv .venv
	awk '/^[^ #]/ { wanted = /^uv==/ } wanted' requirements.lock > .venv/uv.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.lock
	$(UV) pip install --quiet --python $(PY) --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

.venv-model/.installed: libs/headrace/lm/requirements.lock | .venv/.installed
	"$(PYTHON)" -m venv --without-pip .venv-model
	$(UV) pip install --quiet --python .venv-model/bin/python --require-hashes --no-deps -r libs/headrace/lm/requirements.lock
	@touch $@

protos: install ## generate libs/headrace_protos from protos/
	rm -rf $(PROTOS_OUT)/headrace_protos && mkdir -p $(PROTOS_OUT)
	$(PY) -m grpc_tools.protoc -I protos --python_out=$(PROTOS_OUT) --pyi_out=$(PROTOS_OUT) $$(cd protos && find headrace_protos -name '*.proto' | sort)
	$(PY) -m grpc_tools.protoc -I protos --grpc_python_out=$(PROTOS_OUT) headrace_protos/ingest/v1/ingest.proto
	find $(PROTOS_OUT)/headrace_protos -type d -exec touch {}/__init__.py \;

protos-land: install ## declare the contract in protos/ landed: later ones must be compatible with it
	$(PY) -m tests.contract.contracts.landing

minio: install ## build the MinIO server from source with Go: minutes, once; tests then run on it too
	$(PY) -m headrace.local.minio

lint: install ## formatting, lint, import rules
	.venv/bin/ruff format --check --quiet .
	.venv/bin/ruff check --quiet .
	.venv/bin/lint-imports --no-logo

types: install ## strict types
	.venv/bin/mypy libs services tests

test: install model-env ## all tests, on real servers that they start themselves
	.venv/bin/pytest -m "not slow"

test-unit: install ## the tests that need no server: minutes, `.venv/bin/pytest tests/unit/PATH` takes seconds
	.venv/bin/pytest

test-connected: install model-env ## the tests on real servers
	.venv/bin/pytest -m "connected and not slow"

test-cluster: install model-env ## the tests on three brokers, with their counts: minutes
	.venv/bin/pytest -m slow -k cluster -s

test-storm: install model-env ## storms of kills over the spine, the loop of training and whole rounds, with their counts: three quarters of an hour
	.venv/bin/pytest -m "connected or slow" -k "whatever_is_killed or loop_by_itself" -s tests/e2e

demo: install model-env ## real conversations through the whole stack, and what became of them
	.venv/bin/headrace up
	.venv/bin/headrace demo $(ARGS)

experiment: install model-env ## what the signals find and what a round changes: a quarter of an hour; HEADRACE_EXPERIMENT_* or ARGS="--help"
	.venv/bin/headrace experiment $(ARGS)

bench: install model-env ## measure speed and memory
	$(PY) -m tests.bench

up: install model-env ## start the stack on this machine
	.venv/bin/headrace up

down: install ## stop the stack
	.venv/bin/headrace down

lock: install ## resolve the lock files anew, keeping what still fits
	$(COMPILE) --all-extras --group dev --no-emit-package headrace -o requirements.lock pyproject.toml
	$(COMPILE) --override libs/headrace/lm/overrides.txt -o libs/headrace/lm/requirements.lock libs/headrace/lm/requirements.in
	$(PY) -m headrace.local.kafka_jars

clean: ## remove environments and caches; the stack's data in .headrace stays
	rm -rf .venv .venv-model .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
