# Every target creates .venv and installs what is missing.

VENV := .venv
BIN := $(VENV)/bin
# Arguments of `langchain-dbx-eval demo`, pytest or a benchmark: make demo ARGS="--variant better"
ARGS :=

.PHONY: help demo test check faults fuzz format bench-clients bench-driver bench-data bench-eval \
	bench-spark bench-statistics clean

help:
	@echo "make demo           run an end-to-end demonstration (ARGS='--variant better' compares)"
	@echo "make test           run the tests (ARGS=tests/wire runs some of them)"
	@echo "make check          check format, lint, types and architecture, and run the tests"
	@echo "make faults         run the clients against each fault of a server (4 minutes)"
	@echo "make fuzz           run the decoders with random input, 10,000 examples each"
	@echo "make format         format the code and fix lint errors"
	@echo "make bench-clients  compare the clients with other packages (ARGS=--quick: small)"
	@echo "make bench-driver   compare the driver server with the documentation's (7 minutes)"
	@echo "make bench-data     compare a million records with deltalake and MLflow"
	@echo "make bench-eval     compare evaluate with mlflow.genai and pydantic_evals (ARGS=--quick)"
	@echo "make bench-spark    measure engine='spark': rows/s and memory of the driver (ARGS='1000 10000')"
	@echo "make bench-statistics  simulate the coverage of the intervals (2 minutes)"
	@echo "make clean          delete all files that make created"

demo: $(VENV)/installed-demo
	@$(BIN)/langchain-dbx-eval demo $(ARGS)

test: $(VENV)/installed-dev
	@$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

check: $(VENV)/installed-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -n 2 --dist loadgroup

# ARGS=drip runs the faults of that name or kind, ARGS="drip -v" shows their errors.
faults: $(VENV)/installed-dev
	@$(BIN)/python -m tests.faults $(ARGS)

fuzz: $(VENV)/installed-dev
	@DBX_EVAL_FUZZ_EXAMPLES=10000 $(BIN)/pytest -n 2 --timeout 3600 tests/fuzz $(ARGS)

format: $(VENV)/installed-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench-clients: $(VENV)/installed-dev
	@$(BIN)/python -m benchmarks.clients $(ARGS)

# One torch thread that does not spin: with more, other processes affect the measurements.
bench-driver: $(VENV)/installed-dev
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m benchmarks.driver

bench-data: $(VENV)/installed-dev
	@$(BIN)/python benchmarks/data.py

bench-eval: $(VENV)/installed-dev
	@$(BIN)/python -m benchmarks.evaluation $(ARGS)

bench-spark: $(VENV)/installed-dev
	@$(BIN)/python -m benchmarks.spark $(ARGS)

bench-statistics: $(VENV)/installed-dev
	@$(BIN)/python -m benchmarks.interval_coverage $(ARGS)

clean:
	rm -rf $(VENV) .venv-bench dist .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/installed-%: pyproject.toml scripts/install
	@scripts/install $(VENV) $*
	@touch $@
