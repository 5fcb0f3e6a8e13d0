# Headrace: `make help` lists the verbs.
PY := .venv/bin/python
.PHONY: protos
.DEFAULT_GOAL := help

protos: ## generate libs/headrace_protos from protos/
	rm -rf libs/headrace_protos && mkdir -p libs
	$(PY) -m grpc_tools.protoc -I protos --python_out=libs --pyi_out=libs $$(cd protos && find headrace_protos -name '*.proto' | sort)
	$(PY) -m grpc_tools.protoc -I protos --grpc_python_out=libs headrace_protos/ingest/v1/ingest.proto
	find libs/headrace_protos -type d -exec touch {}/__init__.py \;
