# The front door: `make run` serves the default model, `make test` checks everything.
.DEFAULT_GOAL := help
.PHONY: help setup build run test model format lint docs fuzz clean

help:  ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile
	@echo "Variables of run: PORT (8080), HOST (127.0.0.1), MODEL (file, directory or name in the registry)."
	@echo "Variables of fuzz: PARSER (all), SECONDS (60, each)."

setup:  ## Install missing packages (Debian 12)
	@tools/setup.sh build test

build:  ## Build the server: build/release/hearth
	@tools/setup.sh build
	@tools/build.sh release

run:  ## Build, fetch the default model, serve it and send a first request
	@PORT='$(PORT)' HOST='$(HOST)' MODEL='$(MODEL)' tools/run.sh

test:  ## Check everything: format, lint, release, sanitizer and g++ builds, all tests
	@tools/test.sh

model:  ## Fetch the default model; prints its path
	@tools/setup.sh build
	@python3 tools/fetch_model.py

format:  ## Format the C++ files
	@tools/format.sh

lint:  ## Format check, house rules, clang-tidy on what changed
	@tools/setup.sh build test
	@tools/format.sh --check
	@python3 -B tests/style/check_style.py
	@tools/build.sh release
	@python3 tools/lint.py build/release

docs:  ## Write docs/options.md and docs/metrics.md from the declarations
	@tools/build.sh release hearth_docs
	@tools/docs.sh build/release/hearth_docs

fuzz:  ## Fuzz one PARSER or every one, each for SECONDS
	@tools/setup.sh build test
	@tools/fuzz.sh '$(or $(SECONDS),60)' $(PARSER)

clean:  ## Remove what was built (not the model)
	rm -rf build
