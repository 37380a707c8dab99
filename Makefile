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

.PHONY: help demo test run-tests check bench-clients bench-driver bench-data bench-eval format clean

help:
	@echo "make demo    see it all at work on this machine (ARGS='--variant better' for more)"
	@echo "make test    run the tests"
	@echo "make check   format, lint, types, architecture and tests"
	@echo "make format  put the code into its format"
	@echo "make bench-clients  measure the clients beside their peers (ARGS=--quick for a try)"
	@echo "make bench-driver   load the driver server, beside the documentation's (7 minutes)"
	@echo "make bench-data     a million records, beside plain deltalake and MLflow"
	@echo "make bench-eval     evaluate, beside mlflow.genai's and pydantic_evals (ARGS=--quick for a try)"
	@echo "make clean   remove what make made"

demo: $(VENV)/installed-demo
	@$(BIN)/langchain-dbx-eval demo $(ARGS)

test: $(if $(ARGS)$(AGAIN),run-tests,$(VENV)/tests-passed)
	@test -n "$(ARGS)$(AGAIN)" || rm $(VENV)/tests-just-run 2>/dev/null || \
		echo "All tests passed on $$(cat $(VENV)/tests-passed), and nothing has changed since." \
			"To run them again: make test AGAIN=1"

run-tests: $(VENV)/installed-dev
	@$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

$(VENV)/tests-passed: $(VENV)/installed-dev $(SOURCES)
	@$(BIN)/pytest -n 2 --dist loadgroup
	@touch $(VENV)/tests-just-run
	@date > $@

check: $(VENV)/installed-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -n 2 --dist loadgroup

bench-clients: $(VENV)/installed-dev
	@$(BIN)/python -m benchmarks.clients $(ARGS)

# One thread for torch and none that spins: with more, a shared machine measures its neighbours.
bench-driver: $(VENV)/installed-dev
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/driver.py

format: $(VENV)/installed-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench-data: $(VENV)/installed-dev
	@$(BIN)/python benchmarks/data.py

bench-eval: $(VENV)/installed-dev
	@$(BIN)/python -m benchmarks.evaluation $(ARGS)

clean:
	rm -rf $(VENV) .venv-bench dist .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/installed-%: pyproject.toml scripts/install
	@scripts/install $(VENV) $*
	@touch $@
