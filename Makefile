# Every target makes its own .venv when there is none. Nothing but the package registries is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
THREADS ?= 2
export TOKENIZERS_PARALLELISM = false
export HF_HUB_OFFLINE = 1

.PHONY: setup demo test test-all lint bench docs clean
.DEFAULT_GOAL := help

help:
	@echo "make demo      set up, analyse a real model on real text, write a report page"
	@echo "make test      the test suite (make test-all: the slow ones too)"
	@echo "make lint      ruff, pyright"
	@echo "make bench     benchmarks, quick settings"
	@echo "make docs      the documentation as HTML"
	@echo "make setup     only the environment"

$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[demo,dev]"
	touch $@

# The demo needs less than the tests: it is there sooner.
$(VENV)/.demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[demo]"
	touch $@

setup: $(VENV)/.ready

demo: $(VENV)/.demo
	$(BIN)/nissl demo --out demo-report --threads $(THREADS)

test: setup
	$(BIN)/python -m pytest -q -n $(THREADS) --dist worksteal

test-all: setup
	$(BIN)/python -m pytest -q -n $(THREADS) --dist worksteal -m "slow or not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: setup
	@for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(BIN)/python $$file --quick || exit 1; done

docs: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	$(BIN)/python -m sphinx -q -W -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf demo-report docs/_build .pytest_cache .ruff_cache
