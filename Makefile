# `make demo`: install into .venv, run a first study, print its verdict. `make test`: install what tests need, run them.
# `make anchors`: of these, the tests of published numbers and of fixed bytes.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
SOURCE := pyproject.toml constraints.txt
export OMP_NUM_THREADS = 1

.PHONY: install demo test anchors lint docs bench clean

install: $(VENV)/all.done

demo: $(VENV)/all.done
	$(BIN)/airtrack run canon-recall

test: $(VENV)/test.done
	$(BIN)/python -m pytest -n 2

anchors: $(VENV)/test.done
	$(BIN)/python -m pytest -n 2 tests/anchors

lint: $(VENV)/lint.done $(VENV)/test.done
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

docs: $(VENV)/docs.done
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	@echo "docs: docs/_build/html/index.html"

bench: $(VENV)/test.done
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) docs/_build docs/jupyter_execute ledger

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip

# torch first and alone: its CPU build is what everything else has to agree with.
$(VENV)/all.done: $(SOURCE) | $(BIN)/python
	$(PIP) install --constraint constraints.txt torch
	$(PIP) install --constraint constraints.txt --editable ".[all]"
	touch $@

$(VENV)/%.done: $(SOURCE) $(VENV)/all.done
	$(PIP) install --constraint constraints.txt --editable ".[$*]"
	touch $@
