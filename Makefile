# make demo    trains the whole loop on the embedded data set, evaluates it, writes a report
# make test    lint and the test suite
# make test-beam   tests of preparing under Apache Beam, in a virtual environment of its own
# make test-versions  the test suite on each Python of VERSIONS that is there, each in an environment of its own
# make lint    ruff alone
# make install the virtual environment that the others use

PYTHON ?= python3
VENV ?= .venv
WORKDIR ?= runs/demo
SEED ?= 0
VERSIONS ?= 3.11 3.12 3.13
TESTS ?= tests

RUN = $(VENV)/bin/python

.PHONY: demo test test-beam test-versions lint install

demo: $(VENV)/installed
	$(RUN) run.py --config=configs/demo.py --workdir=$(WORKDIR) --config.seed=$(SEED)

test: $(VENV)/installed-test lint
	JAX_PLATFORMS=cpu $(RUN) -m pytest -q --durations=10 -n 2 --dist loadfile
	$(MAKE) test-beam

test-beam: $(VENV)/beam/installed
	JAX_PLATFORMS=cpu $(VENV)/beam/bin/python -m pytest -q tests/data_prep/test_beam.py

# A command python3.X may be there and still be no Python, as those of version managers.
test-versions:
	@for version in $(VERSIONS); do \
	    if ! python$$version -c "" 2> /dev/null; then \
	        echo "python$$version: not on this machine, not tested"; continue; \
	    fi; \
	    echo "python$$version"; \
	    $(MAKE) -s PYTHON=python$$version VENV=$(VENV)-$$version $(VENV)-$$version/installed-test \
	    && JAX_PLATFORMS=cpu $(VENV)-$$version/bin/python -m pytest -q -n 2 --dist loadfile $(TESTS) \
	    || exit 1; \
	done

lint: $(VENV)/installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

install: $(VENV)/installed

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --disable-pip-version-check -q -r requirements.txt
	touch $@

$(VENV)/installed-test: requirements-gcs.txt requirements-test.txt $(VENV)/installed
	$(VENV)/bin/pip install --disable-pip-version-check -q -r requirements-gcs.txt \
	    -r requirements-test.txt
	touch $@

# Its own, since Beam brings older versions of what TFDS uses; with these TFDS warns.
$(VENV)/beam/installed: requirements-beam.txt requirements-test.txt
	$(PYTHON) -m venv $(VENV)/beam
	$(VENV)/beam/bin/pip install --disable-pip-version-check -q -r requirements-beam.txt \
	    -r requirements-test.txt
	touch $@
