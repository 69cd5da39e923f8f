# The first of these that runs and is new enough; `make setup PYTHON=…` chooses another.
PYTHON := $(shell for python in python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && \
	echo $$python && break; done)

BIN := .venv/bin
# Compiled modules are kept whatever the caller says: tests start hundreds of processes, and each
# would compile all of the collector anew (a quarter of a second).
unexport PYTHONDONTWRITEBYTECODE
# -E: no PYTHON* variable of the caller may lead the set-up astray.
SETUP = @$(if $(PYTHON),"$(PYTHON)" -E -m tools.setup,echo "setup: Python 3.11 or newer is needed (Debian: python3.11)" >&2; exit 1)
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate

# Test files that run at a time: more than processors, since tests wait for servers more than they compute.
JOBS ?= $(shell echo $$((2 * $$(nproc))))

# One worker runs the tests of a file; what is skipped or fails is listed at the end.
APART = -n $(JOBS) --dist loadfile --no-loadscope-reorder -rsxfE

# Every seed of a `make long` comes from this number: the same number gives the same run.
SEED := $(or $(SEED),$(shell date +%s))

.DEFAULT_GOAL := help
.PHONY: help setup dev demo demo-cluster pictures check test test-debian13 long chaos hostile audit lint format bench dashboards deb deb-test lock clean

help: ## List these targets
	@sed -n 's/^\([a-z][a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
		while IFS='|' read -r target sentence; do printf '%-18s %s\n' "$$target" "$$sentence"; done

setup: ## Make .venv with the collector in it, and see to an InfluxDB for demo and tests
	$(SETUP)

dev: ## The same, with the tools for tests and checks
	$(SETUP) --dev

demo: setup ## Show the whole product with simulated senders; Ctrl-C stops it (STORY=outage breaks it)
	@$(BIN)/python -m tools.demo $(if $(STORY),--story $(STORY))

# OPTIONS=--help lists what it can be told.
demo-cluster: ## Show a cluster whose processes are killed while reports come in; Ctrl-C settles up
	$(SETUP) --cluster
	@$(BIN)/python -m tools.cluster $(OPTIONS)

pictures: dev ## Take the README's pictures of a demo, with chromium; of Grafana where one is found
	$(BIN)/python -m tools.demo.taking

check: lint ## Lint, and run the tests that need no server: what to run after each change
	$(BIN)/python -m pytest tests/unit -n $(JOBS) -q -rsxfE

# COVERAGE=1 measures branch coverage, which takes a third longer, and fails under 95 %.
test: dev ## Run every test; skipped and failed ones are listed at the end
	@$(if $(COVERAGE),$(BIN)/coverage erase)
	$(BIN)/python -m pytest $(APART) $(if $(COVERAGE),--cov --cov-report=term-missing:skip-covered)

test-debian13: ## The same in a fresh Debian 13, as an ordinary user; needs root and debootstrap
	JOBS=$(JOBS) sh tests/debian/suite.sh 13

long: dev ## The same with all repetitions, from new seeds (SEED=… runs one again)
	TEST_LONG=$(SEED) $(BIN)/python -m pytest $(APART) --hypothesis-seed=$(SEED) --timeout 3600

lint: dev ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: dev ## Rewrite the code in the house's format, and mend what can be mended safely
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

chaos: dev ## Break everything while reports come in, about 4 minutes; docs/reliability.md tells
	@$(BIN)/python -m tests.reliability --forget chaos
	TEST_LONG=$(SEED) $(BIN)/python -m pytest tests/chaos -n $(JOBS) --dist load --timeout 400 --session-timeout 1800 -rs
	@$(BIN)/python -m tests.reliability chaos

hostile: dev ## Attack a collector as strangers may, in the long form; its figures go to docs/reliability.md
	$(BIN)/python -m tests.reliability hostile --forget
	$(BIN)/python -m tests.reliability hostile-cost --forget
	TEST_LONG=$(SEED) $(BIN)/python -m pytest tests/hostile -n 0 -q
	$(BIN)/python -m tests.reliability hostile
	$(BIN)/python -m tests.reliability hostile-cost

bench: ## Measure everything on this machine, for docs/performance.md; NAME=… measures one section
	$(SETUP) --bench
	@$(BIN)/python -m bench $(NAME)

# SITE=https://… where the community's Grafana is not on the host of the collector's own pages.
dashboards: setup ## Write Grafana's dashboards and alert rules anew from tools/dashboards
	$(BIN)/python -m tools.dashboards --site "$(SITE)"

# DEBIAN=12 or 13, ARCH=amd64 or arm64: one package instead of all.
deb: dev ## Build the Debian packages into dist/; needs debhelper
	@$(BIN)/python -m tools.deb $(if $(DEBIAN),--debian $(DEBIAN)) $(if $(ARCH),--arch $(ARCH))

deb-test: ## Install, upgrade, remove and purge the packages in fresh roots; needs root and debootstrap
	sh tests/debian/life.sh 12 dist/usage-collector_*.deb12_$(shell dpkg --print-architecture).deb
	sh tests/debian/life.sh 13 dist/usage-collector_*.deb13_$(shell dpkg --print-architecture).deb

# ADVISORIES=… names a copy of https://github.com/pypa/advisory-database on this machine.
audit: dev ## Look at the locked dependencies: hashes, licences, and what is known against them
	@$(BIN)/python -m tools.audit $(if $(ADVISORIES),--advisories "$(ADVISORIES)")

lock: dev ## Renew the lock files in requirements/ from pyproject.toml
	$(COMPILE) pyproject.toml --output-file requirements/runtime.txt
	$(COMPILE) --group build --output-file requirements/build.txt
	$(COMPILE) --group demo --constraints requirements/runtime.txt --output-file requirements/demo.txt
	$(COMPILE) --group nats --constraints requirements/runtime.txt --output-file requirements/nats.txt
	$(COMPILE) --group cluster --constraints requirements/runtime.txt --output-file requirements/cluster.txt
	$(COMPILE) --group dev --constraints requirements/runtime.txt --output-file requirements/dev.txt

clean: ## Remove what these targets made, but no data
	rm -rf .venv .local .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache htmlcov .coverage .coverage.*
	find collector tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} +
