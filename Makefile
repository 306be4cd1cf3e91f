# `make` lists the targets. Nothing needs more than Debian, Python 3.11 and make.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
UV := $(shell [ -x $(BIN)/uv ] && echo $(BIN)/uv || echo uv)
SERVICES := scp indexer qr-worker dicomweb api
MANIFESTS := shared/pyproject.toml $(foreach s,$(SERVICES),services/$(s)/pyproject.toml)
LOCK := $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-package draw-shared --no-annotate \
	--custom-compile-command "make lock"
SOURCES := shared services tests tools bench
PYTEST := $(BIN)/pytest -o addopts= --import-mode=importlib --strict-markers --strict-config -ra
# A file's tests together: module-wide fixtures start whole suites. In the order of the
# folders, so that the long e2e files do not come last. Three workers on two cores: much of it
# waits for processes to start or for deadlines.
WORKERS ?= 3
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# The tests start some 300 Python processes: each would compile the suite's modules again.
unexport PYTHONDONTWRITEBYTECODE

# What an interrupted installation or another Python has left is taken away before make looks
# at what is there.
ifneq ($(filter-out help clean,$(MAKECMDGOALS)),)
$(shell tools/setup.sh mend >&2)
ifneq ($(.SHELLSTATUS),0)
$(error .venv cannot be used)
endif
endif

.NOTPARALLEL:
.PHONY: help system install setup lock catalogues fmt lint types arch audit sbom unit integration statements e2e faults test check docs \
	docs-check run demo shell screenshots bench-store bench-hostile bench-query bench-retrieve \
	bench-transcode bench-completion bench-deliveries bench-dicomweb soak clean release

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- running ---------------------------------------------------------------------------

run: install ## the whole suite on this machine, until Ctrl-C (DRAW_HOME, DRAW_SCP_PORT, DRAW_API_PORT, DRAW_DICOMWEB_PORT)
	@exec $(BIN)/python -m tools.launch

demo: .venv/.run ## send real DICOM to the running suite and query it back
	@exec $(BIN)/python -m tools.demo

shell: .venv/.run ## a shell with the suite's addresses, or one command: make shell RUN='draw-admin --help'
	@exec $(BIN)/python -m tools.shell $(RUN)

catalogues: .venv/.dev ## bring the catalogues of the page up to date with its texts
	@$(BIN)/python -m tools.catalogues

screenshots: .venv/.dev ## the pictures of the web page in docs/images (needs Chromium)
	@tools/setup.sh web
	PYTHONPATH=tests:. $(BIN)/python -m support.screenshots

bench-query: .venv/.dev ## C-FIND over 10 thousand to 1 million studies, beside Orthanc
	$(BIN)/python -m bench.query

bench-retrieve: .venv/.dev ## C-GET and C-MOVE beside Orthanc
	$(BIN)/python -m bench.retrieve

bench-store: .venv/.dev ## C-STORE beside Orthanc, storescp and stock pynetdicom
	$(BIN)/python -m bench.store

bench-routing: .venv/.dev ## CPU time of 50 rules of 10 conditions
	$(BIN)/python -m bench.routing

bench-hostile: .venv/.dev ## the receiver's memory while it stores 4 GB among hostile peers
	DRAW_TEST_LARGE_BYTES=4000000000 $(PYTEST) -s tests/faults/test_hostile_peers.py -k memory

bench-completion: .venv/.dev ## from the release of an association to the series in a folder of the rules
	PYTHONPATH=tests:. $(BIN)/python -m bench.completion

bench-deliveries: .venv/.dev ## deliveries while a destination is away, with a verdict (25 minutes)
	PYTHONPATH=tests:. $(BIN)/python -m bench.deliveries

bench-dicomweb: .venv/.dev ## metadata and frames over HTTP beside Orthanc with its plugin
	$(BIN)/python -m bench.dicomweb

bench-transcode: system .venv/.dev ## 16 requestors of a 2 GB object in another transfer syntax, with a verdict
	$(BIN)/python -m bench.transcode

MINUTES ?= 25
soak: system .venv/.dev ## the mixed load of a hospital for MINUTES=25, with a verdict
	PYTHONPATH=tests:. $(BIN)/python -m bench.soak --minutes $(MINUTES)

# --- preparing -------------------------------------------------------------------------

install: system .venv/.run ## make .venv with what running needs, and start nothing
	@tools/setup.sh web

setup: system .venv/.dev ## make .venv with everything for developing and testing
	@tools/setup.sh web --dev

# First, so that whoever may not install learns of everything before the first download.
system:
	@tools/setup.sh system

.venv/.run: requirements.lock $(MANIFESTS) tools/setup.sh
	@[ -e .venv/.dev ] && [ ! .venv/.dev -ot requirements-dev.lock ] || tools/setup.sh run
	@touch $@

.venv/.dev: requirements-dev.lock $(MANIFESTS) tools/setup.sh
	@tools/setup.sh dev
	@touch $@

release: .venv/.dev ## VERSION=X.Y.Z: build, date the changelog, commit and tag
	@tools/setup.sh web
	@$(BIN)/python -m tools.release '$(VERSION)'

lock: ## pin third-party versions anew, with hashes and without index addresses
	$(LOCK) $(UPGRADE) -o requirements.lock $(MANIFESTS) requirements-run.in
	$(LOCK) $(UPGRADE) -c requirements.lock -o requirements-dev.lock \
		$(MANIFESTS) requirements-run.in requirements-dev.in
	$(LOCK) -c requirements.lock -o requirements-build.lock requirements-build.in
	$(LOCK) $(UPGRADE) -o requirements-npm.lock requirements-npm.in
	@set -e; for service in $(SERVICES); do \
		$(LOCK) -c requirements.lock -o services/$$service/requirements.lock \
			shared/pyproject.toml services/$$service/pyproject.toml; \
	done

clean: ## remove caches and the virtual environment; DRAW_HOME stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -prune -exec rm -rf {} +

# --- checking --------------------------------------------------------------------------

check: .venv/.dev ## format check, lint, types, import contracts, names, docs drift, spelling: the static part of CI
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell README.md CONTRIBUTING.md SECURITY.md CHANGELOG.md docs $(SOURCES)
	$(BIN)/python -m tools.generate_docs --check
	$(BIN)/pytest -q -o addopts= --import-mode=importlib tests/architecture/test_contracts_and_pages.py

audit: .venv/.dev ## known vulnerabilities in what the locks pin; says so when nobody can be asked
	$(BIN)/python -m tools.audit

sbom: .venv/.dev ## dist/draw-dicom.cdx.json: what the suite consists of (CycloneDX)
	$(BIN)/python -m tools.sbom

fmt: .venv/.dev ## format and repair what can be
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: .venv/.dev ## ruff
	$(BIN)/ruff check .

types: .venv/.dev ## mypy
	$(BIN)/mypy

arch: .venv/.dev ## import contracts
	$(BIN)/lint-imports

docs: .venv/.dev ## write the generated pages
	$(BIN)/python -m tools.generate_docs

docs-check: .venv/.dev ## fail when a generated page differs from the code
	$(BIN)/python -m tools.generate_docs --check

# --- testing ---------------------------------------------------------------------------

test: system .venv/.dev ## every test; PostgreSQL and RabbitMQ are found or started privately
	@tools/setup.sh web --dev
	@tools/setup.sh programs
	$(PYTEST) $(PARALLEL)

unit: .venv/.dev ## tests that need nothing
	$(PYTEST) -m "not integration and not e2e and not fault"

integration: .venv/.dev ## tests against a real PostgreSQL and RabbitMQ
	$(PYTEST) $(PARALLEL) -m integration

e2e: .venv/.dev ## the services as processes with real clients
	@tools/setup.sh web --dev
	$(PYTEST) $(PARALLEL) -m e2e

api-boundaries: .venv/.dev ## every REST operation with every boundary of every parameter
	DRAW_TEST_THOROUGH=1 $(PYTEST) tests/integration/api/test_every_operation.py

statements: .venv/.dev ## every statement against 1,000,000 instances and 5,000,000 log lines
	DRAW_TEST_LARGE_INSTANCES=1000000 $(PYTEST) -s tests/integration/shared/test_statements.py

faults: .venv/.dev ## kills, stops and starves real processes
	$(PYTEST) $(PARALLEL) -m fault
