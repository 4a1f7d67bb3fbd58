# Everything runs in .venv, made from requirements.lock. `make demo` and `make test` set it up.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NATIVE := rethined_export/recipes/rethined/native

.DEFAULT_GOAL := help
.PHONY: help setup demo native emulator browser test quick test-slow check format bench-export \
	bench-scaling bench-models bench-precision bench-method bench-training bench-estimator bench-overhead lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: $(READY) ## make .venv from the lock

$(READY): requirements.lock pyproject.toml setup.py $(wildcard $(NATIVE)/*.c $(NATIVE)/*.h)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)

demo: $(READY) ## export all targets at 2048, verify, inpaint a photo with each: build/demo/
	$(BIN)/python -m rethined_export.demo build/demo

test: $(READY) ## all tests but the slow ones
	$(BIN)/python tests/run.py --durations 5

quick: $(READY) ## unit tests of what changed since the last commit, without conversions
	$(BIN)/python tests/quick.py

test-slow: $(READY) ## 4096 and paper-preset cases
	$(BIN)/python -m pytest -m slow --timeout 1800 -o faulthandler_timeout=0

check: $(READY) ## what CI runs: format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

format: $(READY) ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

native: $(READY) ## librethined for every target: dist/native/
	$(BIN)/python $(NATIVE)/compile.py dist/native

emulator: $(READY) ## an arm64 system under emulation in the user's cache, for rethined-bench
	$(BIN)/python -m rethined_export.benchmarks.arm64.system

browser: $(READY) ## onnxruntime-web and LiteRT.js in the user's cache, for rethined-bench
	$(BIN)/python -m rethined_export.benchmarks.browser.packages

bench-export: $(READY) ## conversion cost, file size, gather against dense: benchmarks/results/
	$(BIN)/python -m rethined_export.benchmarks.export_cost

bench-scaling: $(READY) ## time and memory against image and hole: benchmarks/results/
	$(BIN)/python -m rethined_export.benchmarks.scaling

bench-precision: $(READY) ## what each precision costs, saves and gains: benchmarks/results/
	$(BIN)/python -m rethined_export.benchmarks.precision

bench-models: $(READY) ## every model in every target, against a plain export: benchmarks/results/
	$(BIN)/python -m rethined_export.benchmarks.models

bench-method: $(READY) ## the shipped network, one thing of the method changed: docs/method-questions.md
	$(BIN)/python -m rethined_export.quality.questions

bench-training: $(READY) ## short trainings that differ in one thing: docs/training-questions.md
	$(BIN)/python -m rethined_export.quality.trained_questions

bench-estimator: $(READY) emulator ## estimates against measurements, graph by graph: benchmarks/results/
	$(BIN)/python -m rethined_export.benchmarks.estimator

bench-overhead: $(READY) emulator ## what the harness adds, and how counts repeat: benchmarks/results/
	$(BIN)/python -m rethined_export.benchmarks.overhead

lock: ## write requirements.lock from pyproject.toml's ranges, in a fresh environment
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --upgrade pip
	build/lock/bin/python -m pip install --quiet --constraint constraints.txt '.[dev]'
	build/lock/bin/python -m pip freeze --all --exclude pip --exclude rethined-export \
		| sed 's/+cpu//' > requirements.lock

clean: ## remove what the other targets made
	rm -rf build dist .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis $(NATIVE)/*.so $(NATIVE)/*.wasm $(NATIVE)/rethined-time-*
