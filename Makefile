# make demo: set everything up and run the main job.
# make test: set everything up and pass the tests.
# make bench: measure beside others, e.g. BENCH='--only stepping --jaxgmg FOLDER'.
# make docs: set everything up and build the pages; warnings are errors.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench docs fuzz newest clean

demo: $(VENV)/installed
	$(BIN)/malgen run keys-and-chests-small

test: $(VENV)/installed-dev newest
	$(BIN)/ruff check src tests benchmarks docs examples
	$(BIN)/ruff format --check src tests benchmarks docs examples
	$(BIN)/pyrefly check
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/installed-dev
	$(BIN)/ruff check --fix src tests benchmarks docs examples
	$(BIN)/ruff format src tests benchmarks docs examples
	$(BIN)/pyrefly check
	$(BIN)/lint-imports

# many more examples than the tests take, and other ones each time
fuzz: $(VENV)/installed-dev
	MALGEN_FUZZ=1 $(BIN)/python -m pytest tests/test_fuzz.py tests/test_fuzz_foreign.py -q -s --timeout 7200 -p no:xdist

bench: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks $(BENCH)

docs: $(VENV)/installed-dev
	$(BIN)/sphinx-build -n -W --keep-going -b html docs docs/_build/html

$(VENV)/python: 
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "malgen needs Python 3.11, 3.12 or 3.13, but $(PYTHON) is %d.%d; run make with PYTHON=python3.12, for example." % v)'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	@touch $@

# A second environment with the newest supported Python, if one is here that is newer
# than that of the first; without one, or without a way to fill it, its tests are skipped.
NEWEST := .venv-newest
newest: $(VENV)/python
	@$(BIN)/python tests/newest_environment.py $(NEWEST)

clean:
	rm -rf $(VENV) $(NEWEST) docs/_build .pytest_cache .hypothesis .ruff_cache .import_linter_cache
