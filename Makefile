# Every target creates .venv and installs what is missing.

VENV := .venv
BIN := $(VENV)/bin
# Arguments of `langchain-dbx-eval demo`, pytest or a benchmark: make demo ARGS="--variant better"
ARGS :=

.PHONY: help demo docs docs-blocks docs-serve examples notebooks korean test test-lowest check package \
	faults fuzz fuzz-atheris audit format \
	bench-clients bench-driver bench-data bench-eval bench-spark bench-statistics clean

help:
	@echo "make demo           run an end-to-end demonstration (ARGS='--variant better' compares)"
	@echo "make docs           build the documentation site in site/"
	@echo "make docs-blocks    run the code of all pages in scripts, Jupyter and the prompt (an hour)"
	@echo "make docs-serve     show it at http://127.0.0.1:8000, and rebuild it after each change"
	@echo "make examples       run all examples on an emulated workspace (ARGS=--workspace: a real one)"
	@echo "make notebooks      write the notebooks of the examples"
	@echo "make korean         copy the code of the English pages to the Korean ones"
	@echo "make test           run the tests (ARGS=tests/wire runs some of them)"
	@echo "make test-lowest    run a part of them with the lowest dependencies (PYTHON=3.13)"
	@echo "make check          check format, lint, types and architecture, and run the tests"
	@echo "make package        build wheel and sdist, and use each extra alone (ARGS=eval: one; 10 minutes)"
	@echo "make faults         run the clients against each fault of a server (4 minutes)"
	@echo "make fuzz           run decoders and parsers with random input, 10,000 examples each"
	@echo "make fuzz-atheris   run the parsers of streams and records with atheris, 10 minutes each"
	@echo "make audit          look for known vulnerabilities of all installed packages"
	@echo "make format         format the code and fix lint errors"
	@echo "make bench-clients  compare the clients with other packages (ARGS=--quick: small)"
	@echo "make bench-driver   compare the driver server with the documentation's (7 minutes)"
	@echo "make bench-data     compare a million records with deltalake and MLflow"
	@echo "make bench-eval     compare evaluate with mlflow.genai and pydantic_evals (ARGS=--quick)"
	@echo "make bench-spark    measure engine='spark': rows/s and memory of the driver (ARGS='1000 10000')"
	@echo "make bench-statistics  simulate the coverage of the intervals (2 minutes)"
	@echo "make clean          delete all files that make created"

# The data of `demo` and `examples`, which would be in the home folder, is in demo-data: `clean` deletes
# it.
demo: $(VENV)/installed-demo
	@DBX_EVAL_HOME=$(CURDIR)/demo-data $(BIN)/langchain-dbx-eval demo $(ARGS)

docs: $(VENV)/installed-dev
	@NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html"

# Twice as a script, twice in Jupyter and twice at the Python prompt.
docs-blocks: $(VENV)/installed-dev
	@DBX_EVAL_ALL_PAGES=1 $(BIN)/pytest -n 3 --dist loadgroup -vv tests/test_documentation_in_shells.py $(ARGS)

docs-serve: $(VENV)/installed-dev
	@NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs serve

examples: $(VENV)/installed-dev
	@mkdir -p demo-data/examples
	@for example in examples/*.py; do \
		echo "== $$example"; \
		(cd demo-data/examples && DBX_EVAL_HOME=$(CURDIR)/demo-data \
		$(CURDIR)/$(BIN)/python $(CURDIR)/$$example $(ARGS)) || exit 1; done

notebooks: $(VENV)/installed-dev
	@for example in examples/*.py; do \
		$(BIN)/jupytext --quiet --to ipynb --update \
		--output examples/notebooks/$$(basename $$example .py).ipynb $$example; done

korean: $(VENV)/installed-dev
	@$(BIN)/python scripts/copy_code_blocks.py

# Three workers, also with two cores: many tests wait for a server or a deadline.
test: $(VENV)/installed-dev
	@$(BIN)/pytest -n 3 --dist loadgroup $(ARGS)

# Tests of the other packages that `dev` contains need newer dependencies, and are left out.
PYTHON := 3.10
test-lowest: $(VENV)/installed-dev
	@$(BIN)/uv venv --quiet --clear --python $(PYTHON) .venv-lowest
	@$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct \
		--editable '.[all,test]'
	@.venv-lowest/bin/pytest -n 3 --dist loadgroup $(or $(ARGS),$(addprefix tests/,wire client _internal \
		datasets/delta datasets/schema scoring/judges scoring/statistics evaluation/journal \
		evaluation/test_evaluate.py reporting/gate driver/protocol driver/runtime \
		test_llms.py test_embeddings.py test_package.py))

check: $(VENV)/installed-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -n 3 --dist loadgroup

package: $(VENV)/installed-dev
	@scripts/try_package $(BIN)/uv $(ARGS)

# ARGS=drip runs the faults of that name or kind, ARGS="drip -v" shows their errors.
faults: $(VENV)/installed-dev
	@$(BIN)/python -m tests.faults $(ARGS)

fuzz: $(VENV)/installed-dev
	@DBX_EVAL_FUZZ_EXAMPLES=10000 $(BIN)/pytest -n 2 --timeout 3600 -m hypothesis $(or $(ARGS),tests)

fuzz-atheris: $(VENV)/installed-dev $(VENV)/installed-fuzz
	@$(BIN)/python -m tests.fuzz.coverage_guided events -max_total_time=600 $(ARGS)
	@$(BIN)/python -m tests.fuzz.coverage_guided records -max_total_time=600 $(ARGS)

# Not a part of `check`: it needs PyPI's service, and a new report fails an unchanged project. torch
# has a local version (+cpu), which the service does not know.
audit: $(VENV)/installed-dev
	@$(BIN)/uv pip freeze --python $(BIN)/python --exclude-editable | sed 's/+cpu$$//' > $(VENV)/audited.txt
	@$(BIN)/uvx pip-audit --strict --disable-pip --no-deps --requirement $(VENV)/audited.txt $(ARGS)

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
	rm -rf $(VENV) .venv-bench .venv-lowest demo-data dist site .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/installed-%: pyproject.toml scripts/install
	@scripts/install $(VENV) $*
	@touch $@
