# Everything runs from .venv, which is made on first use from constraints.txt; after that nothing needs the network.
export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN = .venv/bin
STAMP = .venv/.stamp
# Tested with Python 3.11, of which constraints.txt names the versions; a newer Python takes what pip finds.
CONSTRAINTS = $(shell $(PYTHON) -c 'import sys; print("-c constraints.txt" * (sys.version_info[:2] == (3, 11)))')

.PHONY: demo test test-slow test-peers check clean

demo: $(STAMP)
	$(BIN)/xner distil demo --langs all --out runs/demo

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses=4 --dist=worksteal

test-slow: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow

# The page in Chromium (Debian's package), the component in spaCy. XNER_AXE=…/axe.min.js, of npm's axe-core,
# adds the checks of accessibility.
test-peers: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[peers]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m 'browser or peers'

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'Python 3.11 or newer is needed; set PYTHON to one: make PYTHON=/path/to/python3.11'; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[dev]'
	touch $@
