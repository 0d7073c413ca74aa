PYTHON ?= python3
VENV ?= .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
STAMP := $(VENV)/.installed

.PHONY: run test check lint types format soak bench clean

run: $(STAMP)            ## Set up and open the app
	$(BIN)/localr1

test: $(STAMP)           ## Set up and run the tests
	$(BIN)/python -m pytest --cov=localr1 --cov-report=term-missing:skip-covered

check: lint types test   ## What CI runs

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy localr1 tests tools/demo_task.py

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

soak: $(STAMP)           ## The full counts (see docs/benchmarks.md)
	LOCALR1_SOAK=1 $(BIN)/python -m pytest

# llama-cpp-python is compiled once (about five minutes on two cores); pip keeps the wheel.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -c "import pathlib; pathlib.Path('$(STAMP)').touch()"

clean:
	$(PYTHON) -c "import shutil; shutil.rmtree('$(VENV)', ignore_errors=True)"
