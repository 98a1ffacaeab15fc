# The two commands: `make audit` runs the demo audit, `make test` passes all tests. Both do all set-up.

# One thread each: on small machines torch's spinning threads make small models many times slower.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= passive
# Where it is set, every process compiles all that it imports again.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
WORKERS ?= 2
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := .venv/bin/python -m

.PHONY: audit test lint setup clean

audit: setup
	$(RUN) mmadv.cli audit mmadv/demo.yaml --out runs/demo --workers $(WORKERS)

test: setup
	$(RUN) pytest --numprocesses $(WORKERS) --dist worksteal

lint: setup
	$(RUN) ruff check . && $(RUN) ruff format --check . && $(RUN) mypy

setup: $(UV)
	$(UV) sync --locked --quiet

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet uv

clean:
	rm -rf .venv .uv runs dist
