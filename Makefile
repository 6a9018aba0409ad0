# Everything runs in a virtual environment of its own, .venv.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: train test lint

train: .venv/installed  ## fine-tune on the embedded digits
	$(BIN)/python train.py

test: .venv/installed-test  ## the whole test suite
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: .venv/installed-test  ## ruff: lint and format
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/installed-test: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[test]"
	touch $@ .venv/installed
