# Every target does its own set-up: `make demo` and `make test` work on a machine that has git, make and Python 3.11.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
ARGS ?=
SEEDS ?= 1000
KILLS ?= 50
# Held: the figures and golden scores in this repository were made with it. Raise it on purpose, then `make lock`.
TORCH := torch==2.13.0
# Python compiles a module when it is first imported; of the installed ones most never are.
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-compile

# $(call step,TEXT,COMMAND): one line with its duration; what the command says is shown if it fails.
define step
@mkdir -p out; printf '[setup] %s ... ' '$(1)'; begun=$$(date +%s); \
if $(2) >out/setup.log 2>&1; then echo "$$(($$(date +%s) - begun)) s"; \
else status=$$?; echo failed; cat out/setup.log >&2; exit $$status; fi
endef

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev lock check stubs test sim chaos bench bench-fold bench-overload bench-score bench-recovery bench-replay bench-rest bench-snapshot
.PHONY: demo up clean

help: ## Show what there is to run
	@echo "EchoRank: make <target> [ARGS='--flags of the command']"
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Create .venv and install what serving and training need (about a minute, once)

setup-dev: $(READY_DEV) ## The same, and what tests and checks need

$(READY): requirements.lock pyproject.toml
	@command -v "$(PYTHON)" >/dev/null && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "EchoRank needs Python 3.11 or newer, found '$(PYTHON)'." >&2; \
	  echo "Install it (Debian: sudo apt-get install python3.11 python3.11-venv) or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot create virtual environments: its venv module is not installed." >&2; \
	  echo "Install it (Debian: sudo apt-get install python3.11-venv) and run make again." >&2; exit 1; }
	$(call step,1/3 virtual environment in $(VENV),"$(PYTHON)" -m venv --clear $(VENV))
	$(call step,2/3 pinned dependencies of requirements.lock,$(INSTALL) -r requirements.lock)
	$(call step,3/3 EchoRank itself,$(INSTALL) --no-deps --no-build-isolation --editable .)
	@touch $@

$(READY_DEV): requirements-dev.lock $(READY)
	$(call step,tools for tests and checks of requirements-dev.lock,$(INSTALL) -r requirements-dev.lock)
	@touch $@

# torch's CUDA libraries are left to torch's own exact pins, so that one lock serves machines with and without a GPU.
FREEZE := out/lock/bin/python -m pip freeze --all --exclude-editable \
  | sed 's/+cpu$$//' | grep -Ev '^(pip==|nvidia-|cuda-|triton==)'

lock: ## Resolve pyproject.toml afresh and write requirements.lock and requirements-dev.lock
	"$(PYTHON)" -m venv --clear out/lock
	out/lock/bin/python -m pip install --disable-pip-version-check --editable . '$(TORCH)'
	{ echo "# Written by 'make lock' from pyproject.toml; do not edit."; $(FREEZE); } > out/lock/requirements.lock
	out/lock/bin/python -m pip install --disable-pip-version-check --constraint out/lock/requirements.lock --editable '.[dev]'
	{ echo "# Written by 'make lock' from pyproject.toml: what the dev extra adds to requirements.lock; do not edit."; \
	  echo "-c requirements.lock"; $(FREEZE) | grep -vxFf out/lock/requirements.lock; } > out/lock/requirements-dev.lock
	mv out/lock/requirements.lock out/lock/requirements-dev.lock .
	rm -rf out/lock

check: $(READY_DEV) ## Lint, format, types, tidiness, fresh stubs: exactly what CI checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest tests/test_tidy.py tests/test_stubs.py tests/test_papers.py

test: $(READY_DEV) ## Run every test on two processes (brokers and clusters are started and stopped by the tests)
	$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

stubs: $(READY_DEV) ## Regenerate rpc/ from proto/
	$(BIN)/python -m grpc_tools.protoc -Irpc=proto --python_out=. --pyi_out=. --grpc_python_out=. proto/*.proto

sim: $(READY_DEV) ## Simulate SEEDS (1000) runs of the whole system with faults, under virtual time
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(ARGS)

chaos: $(READY_DEV) ## Strike a real deployment KILLS (50) times under load and count every click (needs Apache Kafka: KAFKA_HOME)
	GRPC_ENABLE_FORK_SUPPORT=0 $(BIN)/python -m tests.chaos --kills $(KILLS) $(ARGS)

bench: bench-fold bench-score bench-snapshot bench-recovery bench-replay ## Run every benchmark and write bench/results/ (of a tree as committed)
	$(BIN)/python -m bench.index

bench-fold: $(READY) ## Events a second on one core, bytes a user, against batched PyTorch
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m bench.fold $(ARGS)

bench-score: $(READY) ## Latency and rate of scoring, with and without ingest, against a bare gRPC echo
	$(BIN)/python -m bench.score $(ARGS)

bench-overload: $(READY) ## What is answered when several times as much is asked; needs ghz
	$(BIN)/python -m bench.overload $(ARGS)

bench-snapshot: $(READY) ## What snapshots cost folding, and how long anybody waits for one
	NUMBA_NUM_THREADS=1 $(BIN)/python -m bench.snapshot $(ARGS)

bench-recovery: $(READY) ## Seconds and bytes to restore 100,000 and 1,000,000 users, beside what was predicted
	NUMBA_NUM_THREADS=1 $(BIN)/python -m bench.recovery $(ARGS)

bench-rest: $(READY) ## Whether the memory of a system at rest stays as it is, for an hour, Ray's own included
	GRPC_ENABLE_FORK_SUPPORT=0 $(BIN)/python -m bench.rest $(ARGS)

bench-replay: $(READY) ## Events a second of a rebuild on one core, from the archive and from Kafka
	NUMBA_NUM_THREADS=1 $(BIN)/python -m bench.replay $(ARGS)

demo: $(READY) ## Train, stream, kill, recover and report on real clicks, then stop (FULL=1 asks before every click)
	$(BIN)/echorank demo $(if $(FULL),--full) $(ARGS)

up: $(READY) ## Start EchoRank and leave it running until Ctrl-C (for a first try without Kafka, trains a model on MovieLens)
	@$(BIN)/python -m cluster.cli.first_model $(ARGS)
	$(BIN)/echorank up $(ARGS)

clean: ## Remove .venv, out/ and every cache
	rm -rf $(VENV) out build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
