# The two commands are `make demo` and `make test`. Everything else serves them.
# The first that runs and is new enough: a name on the path may be a version manager's empty shim.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null && echo $$p && break; done)
VENV := .venv
RUN := $(VENV)/bin/python
export DJANGO_SETTINGS_MODULE ?= lms.project.settings

.PHONY: help env demo test test-fast check bench pictures clean

help:
	@echo "make demo   environment, database, content, everything running; prints address and accounts"
	@echo "make test   every test this machine can run (ARGS='tests/courses -q' narrows it)"
	@echo "make env | check | bench | pictures | clean"

# Pinned versions with hashes; made anew when a lock file changes.
$(VENV)/.run: deploy/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: PYTHON=/path/to/python3.11 make demo")'
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@echo "· installing pinned packages (the first time takes two minutes)"
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/requirements.lock
	@$(RUN) -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "lianbing.pth").write_text(str(pathlib.Path.cwd()) + "\n")'
	@printf '#!/bin/sh\nexec "%s/$(RUN)" -m lms.project "$$@"\n' "$$PWD" > $(VENV)/bin/lianbing && chmod +x $(VENV)/bin/lianbing
	@touch $@

$(VENV)/.dev: deploy/requirements-dev.lock $(VENV)/.run
	@echo "· installing pinned tools for checks and tests"
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/requirements-dev.lock
	@touch $@

env: $(VENV)/.dev
	@$(RUN) -m lms.project messages

demo: $(VENV)/.run
	@exec $(RUN) -m lms.project demo $(ARGS)

test: env
	$(RUN) -m pytest $(ARGS)

test-fast: env
	$(RUN) -m pytest -m "not slow and not browser and not docker" $(ARGS)

check: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy lms courses cyber_range drills certification
	$(VENV)/bin/lint-imports
	@git ls-files '*.html' ':!:*/vendored/*' | xargs -r $(VENV)/bin/djhtml --check --tabwidth 2
	$(RUN) -m django makemigrations --check --dry-run
	@if command -v xgettext > /dev/null; then $(RUN) deploy/messages.py; else echo "· xgettext is missing: catalogues not compared with the sources (apt-get install gettext)"; fi
	$(RUN) -m lms.project.messages

bench: env
	$(RUN) -m pytest tests/benchmarks -q -s $(ARGS)

# The README's pictures, taken while the browser tests do the main job.
pictures: env
	LIANBING_PICTURES=$(CURDIR)/deploy/pictures $(RUN) -m pytest tests/e2e/test_admin_part.py tests/e2e/test_main_job.py -q

clean:
	rm -rf .ruff_cache .mypy_cache .import_linter_cache .hypothesis
