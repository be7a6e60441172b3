# `make demo` and `make test` are all the set-up there is. Both are safe to repeat.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Programs that tests start find compiled what others have compiled.
unexport PYTHONDONTWRITEBYTECODE
# The parts of llama.cpp for images and sound take minutes to compile and are not used.
export CMAKE_ARGS ?= -DLLAVA_BUILD=OFF

.PHONY: demo chat test test-fast test-nightly lint bench docs pictures dist clean

demo: $(VENV)/.installed
	@$(BIN)/blendin models pull demo
	@echo
	$(BIN)/blendin generate --pair demo --view tokens --max-tokens 64 "Why do leaves change their colour in autumn?"
	@echo
	$(BIN)/blendin generate --pair demo --max-tokens 160 "Write a short letter to a friend about a walk in the mountains."
	@echo
	@echo "Each line or colour above tells which model spoke. Start the chat with:  make chat"

chat: $(VENV)/.installed
	@$(BIN)/blendin models pull demo
	@$(BIN)/blendin chat --pair demo

test: $(VENV)/.tested
	$(BIN)/python -m pytest -n auto --dist loadfile

test-fast: $(VENV)/.tested
	HYPOTHESIS_PROFILE=quick $(BIN)/python -m pytest -n auto --dist loadfile -m "not real and not slow"

# What takes long to show (docs/architecture.md), and all property tests with more examples.
test-nightly: $(VENV)/.tested
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest -n auto --dist loadfile -m "nightly or hypothesis"

lint: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed
	@$(BIN)/blendin models pull demo
	$(BIN)/blendin bench --pair demo

docs: $(VENV)/.installed
	$(BIN)/python docs/make_cli.py
	$(BIN)/python docs/make_config.py
	$(BIN)/python docs/make_chat.py
	$(BIN)/python docs/make_method.py

pictures: $(VENV)/.installed
	@$(BIN)/blendin models pull demo
	$(BIN)/python docs/make_pictures.py

# Outside the checkout, so that nothing but the wheel can be imported.
dist: $(VENV)/.tested
	rm -rf dist
	$(BIN)/python -m build
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && set -e -x && cd "$$fresh" && \
	$(CURDIR)/$(BIN)/python -m venv venv && \
	venv/bin/python -m pip install --quiet --disable-pip-version-check $(CURDIR)/dist/*.whl && \
	venv/bin/blendin --version && \
	venv/bin/blendin models list

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "blendin needs Python 3.11 or newer; try: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	@echo "Installing. Compiling llama.cpp takes some ten minutes the first time."
	$(BIN)/python -m pip install --disable-pip-version-check -e .
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
