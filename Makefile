# Everything a person needs: `make bench` and `make test` work from a fresh clone with Python 3.11 and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
AT_ONCE := OMP_NUM_THREADS=1 GOMP_SPINCOUNT=0 $(BIN)/python -m pytest -q -n logical --maxprocesses=4

.DEFAULT_GOAL := help

help: ## Show what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Pinned packages into a virtual environment: about 5 GB and a few minutes the first time, nothing afterwards.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "cnnbench needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version). Try: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 3; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

setup: $(READY) ## Create the virtual environment with the pinned packages

bench: $(READY) ## Measure every built-in (plan quick, at most ten minutes on two cores); writes results/
	$(BIN)/python -m cnnbench run quick

full: $(READY) ## Measure everything in every native variant (hours; says beforehand how many)
	$(BIN)/python -m cnnbench run full

smoke: $(READY) ## See in under a minute that everything is in place
	$(BIN)/python -m cnnbench run smoke

# As many tests at once as there are cores, four at most. Each has one thread, and the threads of programs that tests start
# do not wait for each other by spinning: two at once took up to three times as long. Those that measure times run one by one.
test: $(READY) ## Run the tests, but for those marked slow, gpu, data or browser
	$(AT_ONCE) -m "not slow and not gpu and not data and not browser"

test-slow: $(READY) ## Run the slow tests
	$(AT_ONCE) -m "slow and not alone and not gpu and not data and not browser"
	$(BIN)/python -m pytest -q -m "slow and alone and not gpu and not data and not browser"

test-browser: $(READY) ## Look at the HTML report in a real browser (needs chromium)
	$(BIN)/python -m pytest -q -m browser

# `data` tests need the datasets that CNNBENCH_DATA names; they may lie beside the repository.
test-data: $(READY) ## Run the tests that need real datasets (CNNBENCH_DATA)
	CNNBENCH_DATA=$${CNNBENCH_DATA:-$(abspath ../shared/data)} $(BIN)/python -m pytest -q -m data

# Images are of MNIST, CIFAR-10 and photographs where CNNBENCH_DATA has them.
gallery: $(READY) ## Make docs/gallery.md with its images anew (some minutes)
	CNNBENCH_DATA=$${CNNBENCH_DATA:-$(abspath ../shared/data)} $(BIN)/python bench/gallery.py

expect: $(READY) ## Compare counts, compilation and short trainings with bench/expected (about a minute)
	$(BIN)/python -m cnnbench expect

bench-suite: $(READY) ## Time the small built-ins under pytest-benchmark (about a minute)
	$(BIN)/python -m pytest bench --benchmark-only -m small --benchmark-max-time=0.5

lint: $(READY) ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check: lint test ## Style, types and tests

lock: ## Pin the newest versions that pyproject.toml admits (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--custom-compile-command "make lock" --upgrade -o requirements.lock

clean: ## Remove caches and builds; results and the environment stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .benchmarks *.egg-info
	find cnnbench bench tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove the virtual environment as well
	rm -rf $(VENV)

.PHONY: help setup bench full smoke test test-slow test-browser test-data gallery expect bench-suite lint check lock \
	clean distclean
