# make setup | lint | test | test-long | fuzz | demo | bench | screenshots.  Everything Python lives in .venv/; what is missing comes from apt and npm.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: setup system lint test test-long fuzz demo bench screenshots lock translations clean

PYTHON ?= /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
AXE := .cache/node_modules/axe-core/axe.min.js
AXE_VERSION := 4.14.1

setup: $(VENV)/.ready $(AXE)

system:
	@tools/system-packages
	@tools/sendmail-packages

$(VENV)/.ready: requirements-dev.lock setup.cfg pyproject.toml | system
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --use-pep517 --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

$(AXE): | system
	npm install --silent --no-save --no-audit --no-fund --prefix .cache axe-core@$(AXE_VERSION)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy restante milter/restante_milter portal/restante_portal migrations tests

# Two files at a time: much of the suite waits for mail, and with three what is timed comes too late at a slow hour.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-long: export RESTANTE_RUNS ?= 2000
test-long: setup
	$(BIN)/python -m pytest -s --timeout 0 tests/e2e/test_never_clear.py

# What it finds lands in .cache/fuzz; a crash ends it, and its input belongs into tests/fuzz/corpus.
fuzz: RESTANTE_FUZZ_SECONDS ?= 60
fuzz: setup
	$(BIN)/python -c "import atheris" 2>/dev/null || $(BIN)/python -m pip install --quiet --require-hashes -r tests/fuzz/requirements.txt
	for target in mime policy; do \
		mkdir -p .cache/fuzz/$$target; \
		nice -n 19 $(BIN)/python -m tests.fuzz $$target .cache/fuzz/$$target -max_total_time=$(RESTANTE_FUZZ_SECONDS) \
			-max_len=8192 -timeout=20 -artifact_prefix=.cache/fuzz/$$target-; \
	done

demo: setup
	$(BIN)/python -m tests.lab.demo

bench: setup
	$(BIN)/python -m tests.bench

# The pictures of the pickup in docs/screenshots.
screenshots: setup
	$(BIN)/python -m tests.portal.screenshots

# The locks name every wheel's hash, for any machine, and no index.
lock: LOCK := $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host
lock:
	$(LOCK) -o requirements.lock setup.cfg
	$(LOCK) --extra dev -o requirements-dev.lock setup.cfg
	$(LOCK) -o tests/corpus/presidio.lock tests/corpus/presidio.in

# New texts into restante/translations: the template, each language's file, and what programs read of it.
# A new language: $(BIN)/pybabel init -i $(CATALOGUES)/messages.pot -d $(CATALOGUES) -l CODE, then LANGUAGES in languages.py.
CATALOGUES := restante/translations
EXTRACT := -q extract -F pyproject.toml -k marked --add-location=file -w 100 --project=Restante --version=1 \
	--copyright-holder="the Restante authors"
translations: setup
	$(BIN)/pybabel $(EXTRACT) -o $(CATALOGUES)/messages.pot .
	$(BIN)/pybabel -q update --ignore-obsolete --no-fuzzy-matching --ignore-pot-creation-date -w 100 \
		-i $(CATALOGUES)/messages.pot -d $(CATALOGUES)
	$(BIN)/pybabel -q compile -d $(CATALOGUES)

clean:
	rm -rf build dist *.egg-info .cache $(VENV)
