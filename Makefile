# Two commands on a machine with Python 3.11 or newer and a C compiler: `make run` and `make test`.
# Each target sets up what it needs, once: the second time it starts at once.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# The interpreter that makes the virtual environment: PYTHON=python3.12 make run
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
NODE := $(abspath $(PY)) -m config.local.node

PAGE_SOURCES := $(shell find frontend -name node_modules -prune -o -path frontend/dist -prune -o -type f \
	\( -name '*.ts' -o -name '*.js' -o -name '*.mjs' -o -name '*.css' -o -name '*.svg' -o -name '*.woff2' \
	-o -name 'package.json' -o -name 'package-lock.json' -o -name 'tsconfig*.json' \) -print)

# Python clients and servers of MCP that want another SDK than Marina's, or much that Marina has no use for.
CLIENT_ENVIRONMENTS := fastmcp langchain servers

# Tools that load Django's settings without a database (mypy's plugin, makemigrations) need values of the
# right form. Nothing connects to them, and the key seals nothing.
SETTINGS_ONLY := MARINA_MASTER_KEY=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= \
	DATABASE_URL=postgresql://nobody@127.0.0.1:9/none REDIS_URL=redis://127.0.0.1:9/0

.PHONY: help run test check bench lock setup pages compiled sandbox format clean reset test-clients
.PHONY: check-style check-types check-imports check-migrations check-pages

help: ## Show these lines
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '%-14s %s\n' "$$name" "$$text"; done

run: setup pages compiled ## Run Marina here with a demo tenant; Ctrl-C stops all of it (PORT, WEB_CONCURRENCY, MARINA_HOME)
	@exec $(PY) -m config.local

test: setup pages compiled sandbox test-clients tests/conformance/node_modules/.installed tests/documents/node_modules/.installed ## Run all tests, those in a browser included (ARGS="-k name" for some of them)
	@$(PY) -m pytest -n 2 $(ARGS)

check: check-style check-types check-imports check-migrations check-pages ## Check format, lint, types, imports, migrations, pages

check-style: setup
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/ruff check --quiet .

check-types: setup
	@$(SETTINGS_ONLY) $(PY) -m mypy .

check-imports: setup
	@$(VENV)/bin/lint-imports

check-migrations: setup
	@$(SETTINGS_ONLY) $(PY) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run

check-pages: setup frontend/node_modules/.installed
	@$(VENV)/bin/djlint --quiet --lint frontend
	@cd frontend && $(NODE) npm run --silent check

bench: setup pages compiled ## Measure Marina beside the plain SDK and the bare limit
	@exec $(PY) -m tests.bench $(ARGS)

format: setup ## Bring the Python sources into form
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

lock: setup ## Resolve the dependencies anew into requirements.lock
	@$(VENV)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--extra local --extra dev pyproject.toml -o requirements.lock > /dev/null
	@cd tests/clients/python && for name in $(CLIENT_ENVIRONMENTS); do \
		../../../$(VENV)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url $$name.in -o $$name.lock > /dev/null || exit 1; done

clean: ## Remove what was installed and built; keep what Marina has stored
	rm -rf $(VENV) build dist frontend/node_modules frontend/dist tests/clients/node_modules tests/conformance/node_modules tests/documents/node_modules
	rm -rf .mypy_cache .ruff_cache .import_linter_cache .hypothesis test-results
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

reset: setup ## Remove what Marina has stored here (MARINA_HOME): database, keys, exports. There is no way back
	@$(PY) -m config.local --erase

setup: $(VENV)/.project-installed

pages: frontend/dist/.built

# Looks by itself whether anything changed; MARINA_COMPILED=no leaves all of it to the interpreter.
compiled: setup
ifneq ($(MARINA_COMPILED),no)
	@$(SETTINGS_ONLY) $(PY) -m config.local.compiling
endif

# A virtual environment holds paths: one that was moved, or whose interpreter has gone, is made anew.
ifneq ($(shell $(PY) -c 'print(open("$(VENV)/.created").read().strip())' 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)/.created
endif

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Marina needs Python 3.11 or newer, and $(PYTHON) is %d.%d. Name another one: PYTHON=python3.12 make run" % sys.version_info[:2])'
	@echo "Making the virtual environment in $(VENV) …"
	@$(PYTHON) -m venv --clear $(VENV)
	@echo "$(CURDIR)" > $@

$(VENV)/.dependencies-installed: requirements.lock $(VENV)/.created
	@echo "Installing the locked dependencies (the first time takes a few minutes) …"
	@$(PY) -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.project-installed: pyproject.toml $(VENV)/.dependencies-installed
	@$(PY) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

frontend/node_modules/.installed: frontend/package-lock.json $(VENV)/.dependencies-installed
	@echo "Installing the locked packages of the page build …"
	@cd frontend && $(NODE) npm ci --no-audit --no-fund --no-update-notifier --loglevel=error
	@touch $@

# What hosted commands run in, and what one of them runs, for their tests. Only root can install it.
sandbox:
	@command -v bwrap > /dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
			echo "Installing bubblewrap, in which hosted commands run …"; \
			apt-get install -y -qq bubblewrap > /dev/null 2>&1 || \
				{ apt-get update -qq && apt-get install -y -qq bubblewrap > /dev/null; }; \
		else \
			echo "bubblewrap is not installed. Debian and Ubuntu: apt-get install bubblewrap." >&2; exit 1; \
		fi; }
	@command -v git > /dev/null || apt-get install -y -qq git > /dev/null || \
		{ echo "git is not installed. Debian and Ubuntu: apt-get install git." >&2; exit 1; }

tests/clients/node_modules/.installed: tests/clients/package-lock.json $(VENV)/.dependencies-installed
	@echo "Installing the locked MCP clients that the tests drive …"
	@cd tests/clients && $(NODE) npm ci --no-audit --no-fund --no-update-notifier --loglevel=error
	@touch $@

test-clients: tests/clients/node_modules/.installed $(CLIENT_ENVIRONMENTS:%=$(VENV)/clients/%/.installed)

# A virtual environment of its own each, by uv: both take some five seconds.
$(VENV)/clients/%/.installed: tests/clients/python/%.lock $(VENV)/.dependencies-installed
	@echo "Installing the locked Python packages $* that the tests drive …"
	@$(VENV)/bin/uv venv --quiet --clear --no-project --python $(PY) $(@D)
	@$(VENV)/bin/uv pip sync --quiet --require-hashes --python $(@D)/bin/python $<
	@touch $@

tests/documents/node_modules/.installed: tests/documents/package-lock.json $(VENV)/.dependencies-installed
	@echo "Installing the locked OpenAPI documents that the tests import …"
	@cd tests/documents && $(NODE) npm ci --no-audit --no-fund --no-update-notifier --loglevel=error
	@touch $@

tests/conformance/node_modules/.installed: tests/conformance/package-lock.json $(VENV)/.dependencies-installed
	@echo "Installing the locked conformance suite of MCP …"
	@cd tests/conformance && $(NODE) npm ci --no-audit --no-fund --no-update-notifier --loglevel=error
	@touch $@

frontend/dist/.built: frontend/node_modules/.installed $(PAGE_SOURCES) | $(VENV)/.project-installed
	@echo "Building the pages …"
	@cd frontend && $(NODE) npm run --silent build -- --logLevel warn
	@touch $@
