# Each target works alone on a clean clone.
.PHONY: help setup lint test bench faults demo demo-stop

VENV := .venv

help:
	@echo 'make setup      install everything that i2kit needs: packages by apt, Python into $(VENV)'
	@echo 'make demo       build an nginx image and deploy it as three virtual machines'
	@echo 'make demo-stop  take the demo down again, with its registry'
	@echo 'make lint       formatting, types, layers'
	@echo 'make test       lint, then all tests, also those with real virtual machines'
	@echo 'make bench      measure sizes, times and memory on this machine'
	@echo 'make faults     count the requests that fail while machines are updated, killed, hung, scaled'

setup:
	@.ci/install-packages
	@.ci/install-python $(VENV) dev

lint: setup
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

test: lint
	$(VENV)/bin/pytest --numprocesses auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

demo:
	@.ci/install-packages run demo
	@.ci/install-python $(VENV)
	@examples/demo.sh

demo-stop:
	@examples/demo.sh stop

bench: setup
	@$(VENV)/bin/python bench/measure.py

faults: setup
	@$(VENV)/bin/python bench/faults.py
