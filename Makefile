# make demo             environment, build, JupyterLab on the tour      make demo HEADLESS=1   executes the tour instead
# make test             environment, then every check but the slow tests
# make help             the other targets
#
# PYTHON=python3.12 make test   chooses the interpreter of the environment (>= 3.10).   Works with GNU make 3.81.

SHELL := /bin/bash
PYTHON ?= python3
NODE := $(shell sed -n 's/.*"node": ">=\([0-9]*\)".*/\1/p' package.json)
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
STATIC := widgets/convscope/static
JS := $(shell find js \( -name '*.ts' -o -name '*.css' -o -name '*.mjs' \) 2>/dev/null)
TOUR := notebooks/00-tour.ipynb
HEADLESS ?= 0
PYTEST_ARGS ?=
# As many processes as cores; tests/conftest.py says what runs in which. Of the quick tests one more: those of the browser
# wait for a server, a page and a kernel.
PARALLEL := --numprocesses=auto
QUICK = --numprocesses=$$(($$(getconf _NPROCESSORS_ONLN) + 1))
ROOT_FLAG := $(shell [ "$$(id -u)" = 0 ] && echo --allow-root)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo docs test lint types js-test py-test slow-test lowest newest benchmark gpu js format clean node-version

help:
	@echo "make demo              open the tour in JupyterLab"
	@echo "make demo HEADLESS=1   execute the tour without a browser; fails on any cell error"
	@echo "make test              lint, types, TypeScript tests, Python tests, browser tests"
	@echo "make lint              the linters alone        make types     the type checkers alone"
	@echo "make js-test           TypeScript tests alone   make py-test   Python and browser tests alone"
	@echo "                       (PYTEST_ARGS='tests/core -x' and the like are passed on)"
	@echo "make slow-test         the tests marked slow, which make test leaves out and CI does not"
	@echo "make lowest            the quick tests with the lowest versions that pyproject.toml allows (OLDEST=python3.10)"
	@echo "make newest            the same with the newest of everything; both in environments of their own (gigabytes)"
	@echo "make benchmark         all tables of speeds; ONLY=first_light,drag prints those"
	@echo "make gpu               on a machine with CUDA: the core's tests there, and tables of speeds (build/gpu.md)"
	@echo "make docs              build the documentation's site in docs/_site/html; executes the notebooks (minutes)"
	@echo "make pictures          every instrument in every state, as pictures to look at (build/pictures)"
	@echo "make js                build the JavaScript bundle"
	@echo "make format            format Python and TypeScript"
	@echo "make clean             remove everything that make has made"

# ---- environment -----------------------------------------------------------------------------------------------------

# Node.js comes first: without it nothing works, and the Python packages take gigabytes.
node-version:
	@command -v node >/dev/null && command -v npm >/dev/null || \
	  { echo "convscope needs Node.js >= $(NODE) with npm to build its front end, and there is none on PATH. Install it, then run make again." >&2; exit 1; }
	@found=$$(node --version) && major=$${found#v} && [ "$${major%%.*}" -ge $(NODE) ] 2>/dev/null || \
	  { echo "convscope needs Node.js >= $(NODE) to build its front end; the one on PATH is $${found:-broken}. Install a newer one, then run make again." >&2; exit 1; }

$(PY): | node-version
	@command -v $(PYTHON) >/dev/null || \
	  { echo "There is no $(PYTHON) on PATH. Install Python >= 3.10, or name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "convscope needs Python >= 3.10; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) could not make an environment (Debian and Ubuntu keep that in the package python3-venv)." >&2; exit 1; }

# The stamps say when the installed packages last matched the files that ask for them. make builds the bundle itself.
# What the checks need holds what the demo needs.
INSTALL := CONVSCOPE_SKIP_JS=1 $(PY) -m pip install --quiet --disable-pip-version-check --editable

$(VENV)/.installed-demo: pyproject.toml package.json hatch_build.py | node-version $(PY)
	$(INSTALL) '.[demo]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml package.json hatch_build.py | node-version $(PY)
	$(INSTALL) '.[dev]'
	@touch $(VENV)/.installed-demo $@

node_modules/.installed: package.json package-lock.json | node-version
	npm ci --no-audit
	@touch $@

$(STATIC)/.built: $(JS) package.json node_modules/.installed
	npm run --silent build
	@touch $@

js: $(STATIC)/.built

# ---- demo ------------------------------------------------------------------------------------------------------------

demo: $(VENV)/.installed-demo $(STATIC)/.built
ifeq ($(HEADLESS),0)
	$(PY) -m jupyterlab $(ROOT_FLAG) $(TOUR)
else
	$(PY) tests/execute_notebook.py $(TOUR)
endif

# ---- documentation ---------------------------------------------------------------------------------------------------

docs: $(VENV)/.installed-dev $(STATIC)/.built
	$(PY) docs/live_notebooks.py notebooks/*.ipynb
	$(PY) -m sphinx -W --keep-going -b html docs docs/_site/html

# ---- checks ----------------------------------------------------------------------------------------------------------

test: lint types js-test py-test

lint: $(VENV)/.installed-dev node_modules/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check --quiet core widgets tests hatch_build.py
	$(BIN)/lint-imports
	npm run --silent lint

types: $(VENV)/.installed-dev node_modules/.installed
	$(BIN)/mypy
	npm run --silent types

js-test: node_modules/.installed
	npm run --silent test

py-test: $(VENV)/.installed-dev $(STATIC)/.built
	$(PY) -m pytest $(QUICK) -m 'not slow' $(PYTEST_ARGS)

slow-test: $(VENV)/.installed-dev $(STATIC)/.built
	$(PY) -m pytest $(PARALLEL) -m slow $(PYTEST_ARGS)

# ---- both ends of what is supported ----------------------------------------------------------------------------------

OLDEST ?= python3.10
NEWEST ?= $(PYTHON)

# $(1): the environment. $(2): its interpreter. $(3): more for pip.
define tested
	$(2) -m venv --clear $(1)
	CONVSCOPE_SKIP_JS=1 $(1)/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check --upgrade pip
	CONVSCOPE_SKIP_JS=1 $(1)/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check $(3) '.[test]'
	$(1)/bin/python -m pytest $(PARALLEL) -m 'not slow and not browser' $(PYTEST_ARGS)
endef

lowest: $(STATIC)/.built
	@mkdir -p build
	$(OLDEST) tests/lowest_versions.py pyproject.toml > build/lowest.txt
	$(call tested,build/lowest,$(OLDEST),--constraint build/lowest.txt)

newest: $(STATIC)/.built
	$(call tested,build/newest,$(NEWEST))

# ---- figures and pictures --------------------------------------------------------------------------------------------

benchmark: $(VENV)/.installed-dev $(STATIC)/.built
	$(PY) tests/benchmarks $(if $(ONLY),--only $(ONLY))

gpu: $(VENV)/.installed-dev
	$(PY) tests/benchmarks/gpu.py $(GPU_ARGS)

# PICTURES='Gallery full'   takes those of some instruments, or states
pictures: $(VENV)/.installed-dev $(STATIC)/.built
	$(PY) tests/browser/pictures.py $(PICTURES)

format: $(VENV)/.installed-dev node_modules/.installed
	$(BIN)/ruff check --select I --fix
	$(BIN)/ruff format core widgets tests hatch_build.py
	npm run --silent format

clean:
	rm -rf $(VENV) node_modules $(STATIC) dist build docs/_extra docs/_site docs/api docs/notebooks .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find core widgets tests -name __pycache__ -type d -prune -exec rm -rf {} +
