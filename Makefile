# Daily commands. The README's two commands need none of this.
VENV ?= .venv
BIN := $(VENV)/bin

$(BIN)/ixmodal: pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.PHONY: serve test test-browser test-clients screenshots services llama-cpp check format bench fuzz chaos soak ci clean
serve: $(BIN)/ixmodal          ## serve the model that ships
	$(BIN)/ixmodal serve
test: $(BIN)/ixmodal           ## all tests
	$(BIN)/python -m pytest -n 3 --dist loadfile
test-clients:                  ## other people's clients against the server; needs Node 20 and npm
	tests/clients/run
test-browser: $(BIN)/ixmodal   ## the pages in Chromium; needs chromium and npm
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[browser]'
	$(BIN)/python -m pytest tests/browser
screenshots: $(BIN)/ixmodal    ## the pictures of docs/pages.md; needs what test-browser needs
	$(BIN)/python -m tests.browser.screenshots
services: $(BIN)/ixmodal       ## tests that need redis-server
	$(BIN)/python -m pytest tests/services
llama-cpp: $(BIN)/ixmodal      ## tests of the llama.cpp engine, which is compiled first: minutes
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,llama-cpp]'
	$(BIN)/python -m pytest tests/llama_cpp
check: $(BIN)/ixmodal          ## formatting, lints, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
format: $(BIN)/ixmodal         ## format and mend what can be mended
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
bench: $(BIN)/ixmodal          ## all cases beside other servers: see docs/performance.md
	$(BIN)/python -m bench all
fuzz: $(BIN)/ixmodal           ## 10,000 generated requests to a real server
	$(BIN)/python -m tests.fuzz --cases 10000
chaos: $(BIN)/ixmodal          ## every fault for a minute; needs Debian's libfaketime
	$(BIN)/python -m tests.chaos
soak: $(BIN)/ixmodal           ## 20,000 requests: no growth of memory or descriptors
	$(BIN)/python -m tests.chaos.soak
ci:                            ## what CI runs, in a clean copy
	.ci/run
clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
