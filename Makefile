# `make demo`, `make test`, `make lint`: each sets up all that it needs on a machine with git and Python >= 3.11.
# PYTHON=... chooses an interpreter, VENV=... another place for the environment.

SHELL := /bin/bash
VENV ?= .venv
PYTHON ?= $(shell for p in python3.13 python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SDK := .sdk

.PHONY: help demo test lint vendors vendors-call sdk bench bench-peers clean

help:
	@echo "make demo    six calls, offline: transcripts, replies, latencies; recordings and pictures in out/demo"
	@echo "make test    every test; T='-k name' or T=tests/law for some"
	@echo "make lint    ruff (rules and format) and mypy"
	@echo "make vendors the contract of every network adapter against its fake vendor, of every offline provider, and their matrix"
	@echo "make vendors-call   a whole call through the fake of every vendor, and a table; V='deepgram azure-tts' for some"
	@echo "make sdk     the vendors' own SDKs in $(SDK) (downloads 100 MB); tests/vendors/sdk then runs with the tests"
	@echo "make bench   what a session costs, what an open costs; BENCH_ARGS='--sessions 1000' for density"
	@echo "make bench-peers   two other frameworks in environments of their own, and all three compared (downloads 1 GB)"
	@echo "make clean   remove the environment and what was made"

# The stamp is as new as what it was made from: a changed lock installs again, anything else does not.
$(STAMP): requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "Patchbay needs Python 3.11, 3.12 or 3.13; none of python3.13 python3.11 python3.12 python3 is one." >&2; \
		echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or say make PYTHON=/path/to/it." >&2; \
		exit 2; fi
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) has no venv module (Debian, Ubuntu: apt-get install python3-venv)." >&2; exit 2; }
	@test -x $(BIN)/python || { echo "making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP)
	$(BIN)/python -m cli.demo --out out/demo

test: $(STAMP)
	$(BIN)/python -m pytest $(T)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

vendors: $(STAMP)
	$(BIN)/python -m pytest tests/vendors/test_contract_vendors.py tests/call/test_contract.py

vendors-call: $(STAMP)
	$(BIN)/python -m tests.vendors.calls $(V)

# An environment of its own: the SDKs want what they want, and nothing of Patchbay needs them.
$(SDK)/.installed: requirements-sdk.lock | $(STAMP)
	@test -x $(SDK)/bin/python || { echo "making $(SDK) with $(PYTHON)"; $(PYTHON) -m venv $(SDK); }
	$(SDK)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-sdk.lock
	@touch $@

sdk: $(SDK)/.installed

bench: $(STAMP)
	$(BIN)/python benchmarks/density.py $(BENCH_ARGS)
	$(BIN)/python benchmarks/open.py
	$(BIN)/python benchmarks/choose.py

.bench/lk/.installed: PACKAGES = livekit-agents==1.8.* webrtcvad-wheels
.bench/pc/.installed: PACKAGES = pipecat-ai==1.14.* webrtcvad-wheels
.bench/%/.installed:
	$(PYTHON) -m venv .bench/$*
	.bench/$*/bin/pip install --quiet --disable-pip-version-check $(PACKAGES)
	@touch $@

bench-peers: $(STAMP) .bench/lk/.installed .bench/pc/.installed
	$(BIN)/python benchmarks/compare.py $(BENCH_ARGS)

clean:
	rm -rf .bench $(VENV) $(SDK) out .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
