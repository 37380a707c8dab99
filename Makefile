# Each target is the only command that it needs: it makes .venv and installs what is missing.

VENV := .venv
BIN := $(VENV)/bin
# What follows `langchain-dbx-eval demo`, such as: make demo ARGS="--variant better"
ARGS :=

.PHONY: help demo test check bench-driver format clean

help:
	@echo "make demo    see it all at work on this machine (ARGS='--variant better' for more)"
	@echo "make test    run the tests"
	@echo "make check   format, lint, types, architecture and tests"
	@echo "make bench-driver  load the driver server, beside the documentation's (2-4 minutes)"
	@echo "make format  put the code into its format"
	@echo "make clean   remove what make made"

demo: $(VENV)/installed-demo
	@$(BIN)/langchain-dbx-eval demo $(ARGS)

test: $(VENV)/installed-dev
	@$(BIN)/pytest -n 2 $(ARGS)

check: $(VENV)/installed-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -n 2

# One thread for torch and none that spins: with more, a shared machine measures its neighbours.
bench-driver: $(VENV)/installed-dev
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/driver.py

format: $(VENV)/installed-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/installed-%: pyproject.toml scripts/install
	@scripts/install $(VENV) $*
	@touch $@
