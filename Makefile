# make demo    trains the whole loop on the embedded data set, evaluates it, writes a report
# make test    lint and the test suite
# make lint    ruff alone
# make install the virtual environment that the others use

PYTHON ?= python3
VENV ?= .venv
WORKDIR ?= runs/demo
SEED ?= 0

RUN = $(VENV)/bin/python

.PHONY: demo test lint install

demo: $(VENV)/installed
	$(RUN) run.py --config=configs/demo.py --workdir=$(WORKDIR) --config.seed=$(SEED)

test: $(VENV)/installed-test lint
	JAX_PLATFORMS=cpu $(RUN) -m pytest -q --durations=10

lint: $(VENV)/installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

install: $(VENV)/installed

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --disable-pip-version-check -q -r requirements.txt
	touch $@

$(VENV)/installed-test: requirements-test.txt $(VENV)/installed
	$(VENV)/bin/pip install --disable-pip-version-check -q -r requirements-test.txt
	touch $@
