# Headrace: `make help` lists the verbs.
PY := .venv/bin/python
PROTOS_OUT := libs
.PHONY: protos protos-land
.DEFAULT_GOAL := help

protos: ## generate libs/headrace_protos from protos/
	rm -rf $(PROTOS_OUT)/headrace_protos && mkdir -p $(PROTOS_OUT)
	$(PY) -m grpc_tools.protoc -I protos --python_out=$(PROTOS_OUT) --pyi_out=$(PROTOS_OUT) $$(cd protos && find headrace_protos -name '*.proto' | sort)
	$(PY) -m grpc_tools.protoc -I protos --grpc_python_out=$(PROTOS_OUT) headrace_protos/ingest/v1/ingest.proto
	find $(PROTOS_OUT)/headrace_protos -type d -exec touch {}/__init__.py \;

protos-land: ## declare the contract in protos/ landed: later ones must be compatible with it
	$(PY) -m tests.contract.contracts.landing
