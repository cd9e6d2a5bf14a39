# Two commands: `make demo` runs the main job on phantoms, `make test` runs the fast suite. Both build .venv when needed.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.stamp
export OMP_WAIT_POLICY := passive
# Counting the lines that tests run costs nearly nothing from Python 3.12 on and up to a third of the time on 3.11; `make test COVERAGE=` goes without.
COVERAGE ?= --cov --cov-report=
TRACER = $$($(BIN)/python -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")')

.PHONY: demo workbench test slow notebook clean

demo: $(STAMP)
	$(BIN)/fewmask demo --out demo

# The page on made-up scans; what you draw there stays in phantoms/outlines.
workbench: $(STAMP)
	@test -d phantoms/images || $(BIN)/python -c 'from pathlib import Path; from fewmask.synth.phantom import write_phantoms; write_phantoms(Path("phantoms"), 12)'
	@echo "these scans are made up; your own:  $(BIN)/fewmask label FOLDER --label NAME"
	$(BIN)/fewmask label phantoms/images --label liver --label spleen --out phantoms/outlines

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 COVERAGE_CORE=$(TRACER) $(BIN)/python -m pytest -n 2 -m "not slow" -q $(COVERAGE)
	@rm -f .coverage.*  # what killed processes left
ifneq ($(COVERAGE),)
	@echo "lines that the tests run: $$($(BIN)/coverage report --format=total) %; the least covered files:"
	@$(BIN)/coverage report --sort=cover | sed -n 1,12p
endif

slow: $(STAMP)
	$(BIN)/python -m pytest -m slow -q

notebook: $(STAMP)
	cd notebooks && rm -rf sam_mix_demo && ../$(BIN)/jupyter execute sam_mix.ipynb --inplace --timeout=1800

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || { echo "fewmask needs Python 3.11.4 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $(STAMP)

clean:
	rm -rf .venv demo notebooks/sam_mix_demo build dist src/fewmask.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.*
