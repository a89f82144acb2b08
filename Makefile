# The doors of the project. Every target sets up what it needs by itself, says what it does, and is quick the second
# time. Nothing here reads from the terminal.

CARGO ?= cargo
# Rust may have been installed for this user only.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help run test test-long compat bench lint fmt deny setup clean-cache

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

run: ## Build, install what is missing, and open the notebook `hello`
	@scripts/setup.sh build run
	@scripts/run.sh

test: ## Set up, then run every check and every test
	@scripts/setup.sh build run test
	@python3 scripts/test.py

test-long: ## Campaigns: more crashes, and a notebook on Debian 12 in a virtual machine
	@scripts/setup.sh build run test virtual-machine
	@python3 scripts/test.py --long

compat: ## Try other people's clients, and write docs/compatibility.md
	@scripts/setup.sh build run test
	@$(CARGO) build --locked -p atelier
	@ATELIER_WRITE_COMPATIBILITY=1 python3 scripts/test.py --only "suite compat"

bench: ## Measure Atelier beside its peers, in one run
	@scripts/setup.sh build run test bench
	@bench/run.sh

lint: ## Formatting, clippy and bans, as `make test` runs them
	@scripts/setup.sh build
	@python3 scripts/test.py --only lint

fmt: ## Format the code
	@$(CARGO) fmt --all

deny: ## Licences, bans and sources of the dependencies (installs cargo-deny when it is missing)
	@scripts/deny.sh --install

setup: ## Only install what is missing
	@scripts/setup.sh build run test

clean-cache: ## Remove what the targets above keep outside of the repository
	@scripts/cache.sh --remove
