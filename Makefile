# Two commands matter: `make demo` and `make test`. Both build .venv once and reinstall nothing afterwards.
# PYTHON=python3.12 picks another interpreter, TORCH=cpu|cuda another build of PyTorch.

VENV := .venv
INPUTS := pyproject.toml constraints.txt scripts/install.sh
PYTEST_ARGS ?=
# A worker a core, each with one thread; above four they mostly wait for memory.
WORKERS ?= auto --maxprocesses 4

export PYTHON TORCH

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs lock clean

help: ## show these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/.demo ## install, distil the built-in teachers into one step, write the report
	$(VENV)/bin/koopstep demo --out runs/demo
	@echo "The report is $(CURDIR)/runs/demo/report/index.html"

test: lint ## install with the test extras, lint, run every test (PYTEST_ARGS="tests/core -q" for some)
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

lint: $(VENV)/.test ## ruff and mypy --strict, at the versions that constraints.txt pins
	$(VENV)/bin/python -m ruff check
	$(VENV)/bin/python -m ruff format --check
	$(VENV)/bin/python -m mypy

docs: $(VENV)/.docs ## build the documentation with its Python reference into build/site (strict: a broken link is an error)
	$(VENV)/bin/python -m mkdocs build --strict
	@echo "The documentation is $(CURDIR)/build/site/index.html"

lock: ## resolve every extra afresh and rewrite constraints.txt
	sh scripts/lock.sh

clean: ## remove the environment, caches and build products; runs/ stays
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find src tests docs scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The larger environment serves the smaller one too.
$(VENV)/.demo: $(INPUTS)
	sh scripts/install.sh $(VENV) analysis
	@touch $@

$(VENV)/.docs: $(INPUTS)
	sh scripts/install.sh $(VENV) docs
	@touch $@

$(VENV)/.test: $(INPUTS)
	sh scripts/install.sh $(VENV) analysis,diffusers,test,track
	@touch $(VENV)/.demo $@
