# Two commands: `make demo` runs the main job on phantoms, `make test` runs the fast suite. Both build .venv when needed.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.stamp
export OMP_WAIT_POLICY := passive
# Compiled tests are kept (some machines turn that off): without, each process compiles them all again.
FAST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow" -q
TRACER = $$($(BIN)/python -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")')

.PHONY: demo workbench test coverage slow docs notebook clean

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
	$(FAST)

# The same tests, and which lines they run: apart, since counting takes up to a third of the time on Python 3.11.
coverage: $(STAMP)
	COVERAGE_CORE=$(TRACER) $(FAST) --cov --cov-report=
	@rm -f .coverage.*  # what killed processes left
	@echo "lines that the tests run: $$($(BIN)/coverage report --format=total) %; the least covered files:"
	@$(BIN)/coverage report --sort=cover | sed -n 1,12p

slow: $(STAMP)
	$(BIN)/python -m pytest -m slow -q

# The site, in build/docs; a warning or a broken link is an error.
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "open build/docs/index.html"

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
