# Each target is the only command that it needs: it makes .venv and installs what is missing.

VENV := .venv
BIN := $(VENV)/bin
# What follows `langchain-dbx-eval demo` or `pytest`: make demo ARGS="--variant better"
ARGS :=
# Whatever a test may read. Once all tests have passed, they are run again when one of these has
# changed, or when asked: make test AGAIN=1
SOURCES := $(shell find langchain_dbx_eval tests docs examples benchmarks scripts .ci Makefile *.md \
	pyproject.toml -type f -not -path '*/__pycache__/*' 2>/dev/null)
AGAIN :=

.PHONY: help demo test run-tests check bench-clients format clean

help:
	@echo "make demo    see it all at work on this machine (ARGS='--variant better' for more)"
	@echo "make test    run the tests"
	@echo "make check   format, lint, types, architecture and tests"
	@echo "make bench-clients  measure the clients beside their peers (ARGS=--quick for a try)"
	@echo "make format  put the code into its format"
	@echo "make clean   remove what make made"

demo: $(VENV)/installed-demo
	@$(BIN)/langchain-dbx-eval demo $(ARGS)

test: $(if $(ARGS)$(AGAIN),run-tests,$(VENV)/tests-passed)
	@test -n "$(ARGS)$(AGAIN)" || rm $(VENV)/tests-just-run 2>/dev/null || \
		echo "All tests passed on $$(cat $(VENV)/tests-passed), and nothing has changed since." \
			"To run them again: make test AGAIN=1"

run-tests: $(VENV)/installed-dev
	@$(BIN)/pytest -n 2 $(ARGS)

$(VENV)/tests-passed: $(VENV)/installed-dev $(SOURCES)
	@$(BIN)/pytest -n 2
	@touch $(VENV)/tests-just-run
	@date > $@

check: $(VENV)/installed-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -n 2

bench-clients: $(VENV)/installed-dev
	@$(BIN)/python -m benchmarks.clients $(ARGS)

format: $(VENV)/installed-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-bench dist .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/installed-%: pyproject.toml scripts/install
	@scripts/install $(VENV) $*
	@touch $@
