# `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PACKAGES := freeipmi-tools ipmitool openipmi postgresql curl jq python3-venv snmp snmpd chromium fonts-dejavu-core \
	dnsmasq-base ipxe iproute2 pdns-server pdns-backend-sqlite3 bind9 qemu-utils cpio libatomic1
TOOLS := ipmipower ipmitool ipmi_sim jq curl snmpwalk snmpd chromium dnsmasq ip pdns_server named qemu-img cpio
# For machines that really boot, and the images that they boot.
REAL_PACKAGES := qemu-system-x86 ovmf ipxe-qemu mmdebstrap zstd kmod cpio
REAL_TOOLS := qemu-system-x86_64 mmdebstrap zstd depmod cpio

.PHONY: help setup demo test check fuzz bench prove real real-short real-setup ramdisk screenshots vendor texts docs clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## Install the Debian packages and the Python packages that everything needs
	@missing=""; for tool in $(TOOLS); do command -v $$tool >/dev/null || PATH=$$PATH:/usr/sbin command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	ls /usr/lib/*/libatomic.so.1 >/dev/null 2>&1 || missing="$$missing libatomic1"; \
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

demo: setup ## Start a virtual rack, the product and sample data (RESET=1 starts anew, REAL=1 boots QEMU machines)
	$(if $(REAL),@$(MAKE) --no-print-directory real-setup)
	@exec $(BIN)/rackhand demo $(if $(RESET),--reset) $(if $(REAL),--real)

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
	@[ -e /usr/share/fonts/opentype/inter ] || $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends fonts-inter
	$(BIN)/python -m tests.web.screenshots

vendor: ## Renew the console's libraries from npm (needs npm; packaging/vendor_web.py names their versions)
	$(PYTHON) packaging/vendor_web.py

texts: setup ## Collect the console's texts into its catalogues and compile those (src/rackhand/web/locale)
	$(BIN)/python packaging/texts.py

REAL_TESTS ?= tests/real
REAL_IMAGE := var/real/debian-12.tar.zst

real: setup ## Boot QEMU machines in a network of their own: diagnose, wipe, install, rescue (needs root; 20 to 40 minutes without KVM)
	@if ! $(SUDO) unshare --net true 2>/dev/null; then echo "Skipped: network namespaces need root."; exit 0; fi; \
	$(MAKE) --no-print-directory ramdisk $(REAL_IMAGE) && \
	$(SUDO) env RACKHAND_REAL=1 PATH="$$PATH:/usr/sbin:/sbin" unshare --net sh -c \
		'ip link set lo up && exec $(BIN)/python -m pytest $(REAL_TESTS)'

# What holds most in the least time: a dropped override and one disk under BIOS; a mirror under UEFI, and its rescue; marks
# on disks that are wiped.
real-short: ## The part of `make real` that proves most
	@$(MAKE) --no-print-directory real REAL_TESTS='tests/real -k "drops or mirror or nvme"'

ramdisk: setup real-setup ## Make the ramdisk that real machines boot, from Debian's packages
	$(BIN)/rackhand image build ramdisk --out var/real/ramdisk

$(REAL_IMAGE): | setup real-setup
	$(BIN)/rackhand image build debian-12 --lean --kernel linux-image-cloud-amd64 --out $@

real-setup:
	@missing=""; for tool in $(REAL_TOOLS); do PATH=$$PATH:/usr/sbin:/sbin command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	[ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] || missing="$$missing ovmf"; [ -e /usr/lib/ipxe/qemu ] || missing="$$missing ipxe-qemu"; \
	if [ -n "$$missing" ]; then echo "Installing Debian packages: $(REAL_PACKAGES)"; $(SUDO) apt-get update -qq; \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(REAL_PACKAGES); fi

docs: setup ## Write the reference pages that are made from the code
	$(BIN)/rackhand settings > docs/settings.md
	$(BIN)/python -m tests.examples

lock: ## Renew requirements.lock (needs uv)
	uv pip compile pyproject.toml --group dev --generate-hashes --no-header --no-annotate --python-version 3.11 --universal -q -o requirements.lock

clean: ## Delete the demo's data and caches
	rm -rf var .ruff_cache .mypy_cache
