# Two commands are enough: `make demo` and `make test`. Both set everything up first.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
DOCS   := $(VENV)/.docs
VIDEOS ?=
OUT    ?= demo
STEPS  ?=

.PHONY: demo test check format docs package bench setup clean

demo: setup  ## learn a little world of videos and write demo/report.html (VIDEOS=folder: your own)
	$(BIN)/marey demo --out "$(OUT)" $(if $(VIDEOS),--videos "$(VIDEOS)")

test: setup  ## run the tests
	$(BIN)/python -m pytest -n auto

check: setup  ## style, types and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup  ## every stage against its floor and the usual way: speed/speed.md, minutes
	$(BIN)/python benchmarks/run.py --out speed

format: setup  ## put the code into the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DOCS)  ## build the documentation into site/; a warning is an error
	$(BIN)/mkdocs build

package:  ## before a release: build it, install it in clean environments, try it (STEPS: some of it)
	$(PYTHON) tests/package/check.py $(STEPS)

setup: $(STAMP)  ## the environment alone

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

$(DOCS): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $(DOCS)

clean:  ## remove what make made
	rm -rf $(VENV) demo speed site .mypy_cache .ruff_cache .pytest_cache .hypothesis
