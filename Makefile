# Thin on purpose: each target is the command that the README shows.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: quickstart test test-slow lint types setup clean

quickstart: setup
	$(BIN)/edgedl optimize zoo:digits -o quickstart

test: setup
	$(BIN)/python -m pytest

test-slow: setup
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

setup: .venv/installed

# typing_extensions and pydantic: litert-torch's converter pins the former, and pip searches a minute for the latter without help.
# torch first, by its exact version: pip then takes a local or cached CPU build if there is one.
.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[dev]' typing_extensions==4.12.2 pydantic==2.11.10
	touch $@

clean:
	rm -rf .venv quickstart dist
