# Everything sets itself up in .venv; nothing but Python 3.11 to 3.13 and make is needed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
JOBS ?= 2
# Memory that tensors give back stays with the process: on virtual machines with slow page faults everything takes half
# as long. Only the C library of Linux reads it.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=100000000000:glibc.malloc.arena_max=1

.PHONY: demo test test-fast test-jax lint format serve-check notebooks docs benchmark evidence clean

demo: .venv/.package ## train on the embedded digits, explain, export, serve from the SavedModel
	$(BIN)/keras-coda demo

test: .venv/.test ## all tests
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

test-fast: .venv/.test ## the tests without the marker `slow`
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile -m "not slow"

test-jax: .venv/.test ## the tests that need no TensorFlow, on JAX, with TensorFlow hidden
	KERAS_BACKEND=jax $(BIN)/python -m pytest -p tests.helpers.any_backend

lint: .venv/.test ## format, rules, the order of the rooms and types, checked only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

format: .venv/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

serve-check: .venv/.test ## the files of export/ against an exported network, without Docker
	$(BIN)/python -m export.check

notebooks: .venv/.test ## all notebooks from start to end, in scratch folders
	$(BIN)/python -m notebooks.run --jobs $(JOBS)

docs: .venv/.docs ## the documentation, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict # with --quiet, warnings would not count

benchmark: .venv/.package ## speed and memory, about 12 minutes; rewrites benchmarks/README.md
	$(BIN)/python -m benchmarks

CIFAR10 ?= cifar10

evidence: .venv/.evidence ## every table and figure of docs/results.md; takes hours, and continues after an interrupt
	$(BIN)/python -m experiments --cifar10 $(CIFAR10)

clean:
	rm -rf .venv build dist site *.egg-info demo

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.package: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/.evidence: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[posthoc,tfds]'
	touch $@ .venv/.package

.venv/.docs: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@ .venv/.package

.venv/.test: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@ .venv/.package
