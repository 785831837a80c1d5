# The template's own targets; a generated project has its own.

PYTHON := PyPy
VENV := .venv
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help demo demo-down test test-quick unit template containers faults redeploys kills bench bench-blobs native-table adopt-table apps-table check reference fix clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/ready ## set up what is missing and show the main job (PYTHON=CPython for the other)
	@$(VENV)/bin/python -m testbed.demo up --python '$(PYTHON)'

demo-down: $(VENV)/ready ## stop the demo and remove all of it
	@$(VENV)/bin/python -m testbed.demo down

test: $(VENV)/measure ## set up what is missing and run all tests, side by side
	@$(VENV)/bin/python -m tests.run_all

test-quick: $(VENV)/measure ## the linters, the tests without an engine, and the main path on CPython
	@$(VENV)/bin/python -m tests.run_all quick

unit: $(VENV)/measure ## the tests of hooks, modules and sample applications
	@$(VENV)/bin/python -m pytest tests/unit tests/apps

template: $(VENV)/measure ## the tests of what is generated, linters included
	@$(VENV)/bin/python -m pytest tests/template

containers: $(VENV)/ready ## the tests on a real engine, registry and server
	@$(VENV)/bin/python -m pytest tests/containers

kills: $(VENV)/ready ## kill applications and databases at 100 random moments, and check what is left
	@$(VENV)/bin/python -m tests.apps.kills

faults: $(VENV)/ready ## kill 100 deploys at random moments and places (FAULTS=n, SEED=n)
	@FAULTS=$(or $(FAULTS),100) $(VENV)/bin/python -m pytest -rA tests/containers/deploy/test_killed_deploys.py

redeploys: $(VENV)/ready ## redeploy an application behind a proxy and a worker under load, 50 times each (REDEPLOYS=n)
	@REDEPLOYS=$(or $(REDEPLOYS),50) $(VENV)/bin/python -m pytest -s tests/containers/deploy/test_redeploys.py

bench: $(VENV)/measure ## measure slipway and its peers, and write docs/figures/bench.*
	@$(VENV)/bin/python -m measure.peers

bench-blobs: $(VENV)/measure ## measure ways to store files in databases, and write docs/figures/blobs.*
	@$(VENV)/bin/python -m measure.blobs

native-table: $(VENV)/ready ## build packages that need a C library from source, and write docs/figures/native.* (PYTHON=CPython too)
	@$(VENV)/bin/python -m measure.c_libraries --python '$(PYTHON)'

adopt-table: $(VENV)/ready ## adopt and build public repositories, and write docs/figures/adopt.*
	@$(VENV)/bin/python -m measure.repositories

apps-table: $(VENV)/ready ## deploy applications from PyPI to a server, and write docs/figures/apps.* (PYTHON=CPython too)
	@$(VENV)/bin/python -m measure.applications --python '$(PYTHON)'

check: $(VENV)/measure ## the linters alone; changes no file
	@$(VENV)/bin/python -m pytest tests/template/test_linters.py

reference: ## write the pages of settings and commands from the code's own tables
	@python3 docs/reference/generate.py

fix: $(VENV)/ready ## let ruff and shfmt put the files in order
	@$(VENV)/bin/ruff check --fix . && $(VENV)/bin/ruff format .
	@$(VENV)/bin/shfmt --list --write tests '{{cookiecutter.project}}' .ci/run

clean: ## remove what these targets made here
	rm -rf $(VENV) .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/ready: tests/requirements.txt tests/venv.sh
	@tests/venv.sh '$(VENV)'

# matplotlib, which is too large for make demo
$(VENV)/measure: measure/requirements.txt $(VENV)/ready
	@$(VENV)/bin/python -m pip -qq --disable-pip-version-check install --require-hashes --requirement $<
	@touch $@
