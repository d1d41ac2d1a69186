# `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PACKAGES := freeipmi-tools ipmitool openipmi postgresql curl jq python3-venv snmp snmpd chromium fonts-dejavu-core
TOOLS := ipmipower ipmitool ipmi_sim jq curl snmpwalk snmpd chromium

.PHONY: help setup demo test check fuzz bench prove screenshots vendor texts docs clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## Install the Debian packages and the Python packages that everything needs
	@missing=""; for tool in $(TOOLS); do command -v $$tool >/dev/null || PATH=$$PATH:/usr/sbin command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	if [ -n "$$missing" ]; then $(MAKE) --no-print-directory debian; fi

.PHONY: debian
debian:
	@echo "Installing Debian packages: $(PACKAGES)"
	$(SUDO) apt-get update -qq
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES)

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -m venv --help >/dev/null 2>&1 && $(PYTHON) -c 'import ensurepip' 2>/dev/null || $(MAKE) --no-print-directory debian
	@echo "Installing Python packages into $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## Start a virtual rack, the product and sample data (RESET=1 starts anew)
	@exec $(BIN)/rackhand demo $(if $(RESET),--reset)

test: setup ## Run the whole test suite, on SQLite and on a PostgreSQL that it starts itself
	$(BIN)/python -m pytest tests -n 2 --dist loadfile --ignore=tests/bench --ignore=tests/fuzz

fuzz: setup ## Send made-up requests to every route (RACKHAND_FUZZ_EXAMPLES says how many)
	$(BIN)/python -m pytest tests/fuzz --timeout=0

check: setup ## Format, lint, types, imports
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## Measure speed and size, print the figures
	$(BIN)/python -m tests.bench

prove: setup ## Kill the process before, inside and after every step of every operation, on both databases
	$(BIN)/python -m tests.prove

screenshots: setup ## Take pictures of the console, filled by the demo, into docs/screenshots
	$(BIN)/python -m tests.web.screenshots

vendor: ## Renew the console's libraries from npm (needs npm; packaging/vendor_web.py names their versions)
	$(PYTHON) packaging/vendor_web.py

texts: setup ## Collect the console's texts into its catalogues and compile those (src/rackhand/web/locale)
	$(BIN)/python packaging/texts.py

docs: setup ## Write the reference pages that are made from the code
	$(BIN)/rackhand settings > docs/settings.md
	$(BIN)/python -m tests.examples

lock: ## Renew requirements.lock (needs uv)
	uv pip compile pyproject.toml --group dev --generate-hashes --no-header --no-annotate --python-version 3.11 --universal -q -o requirements.lock

clean: ## Delete the demo's data and caches
	rm -rf var .ruff_cache .mypy_cache
