# The front door: each target calls a CMake preset or a script, and sets up what it needs first.
# make help lists them.

PRESET ?= release
PREFIX ?= /usr/local
BUILD  := build/$(PRESET)
JOBS   ?= 4

SECONDS ?= 60
SEED    ?= random

# Replaced by the tests of this file.
SETUP         := sh scripts/setup.sh
CMAKE         := cmake
BENCH_PROGRAM := build/release/bench/holdfast-bench
PROOF_PROGRAM := build/release/tests/proof/holdfast-proof
MUTANTS_PROGRAM := build/release/tests/proof/holdfast-mutants
FUZZ_PROGRAM  := sh scripts/fuzz.sh
SOAK_PROGRAM  := build/release/tests/soak/holdfast-soak

# As it was typed: neither make nor the shell has expanded anything in it.
export HF_ONLY := $(value ONLY)
export HF_LEVELS := $(value LEVELS)
export HF_STATE := $(value STATE)
export HF_PREFIX := $(PREFIX)

.PHONY: all demo demo-kill check proof mutants bench install format format-check lint clean help models fuzz soak

all: ## build the library, the command and the examples into build/release (1 minute)
	@$(SETUP) build
	@$(CMAKE) --preset $(PRESET) $(CMAKE_ARGS) >/dev/null
	@$(CMAKE) --build --preset $(PRESET)

demo: all ## send real files from process to process and verify them (1 minute)
	@sh scripts/demo.sh $(BUILD)

demo-kill: all ## kill processes in the middle of transfers, and of using the heap; nothing is lost (2 minutes)
	@$(BUILD)/examples/survive
	@$(BUILD)/examples/survive_heap
	@if [ -x $(BUILD)/examples/survive_boost ]; then $(BUILD)/examples/survive_boost; fi

check: ## build and run the tests (8 minutes at most)
	@$(SETUP) check
	@$(CMAKE) --preset $(PRESET) -DHF_TESTS=ON $(CMAKE_ARGS) >/dev/null
	@$(CMAKE) --build --preset $(PRESET)
	@ctest --preset $(PRESET) -j $(JOBS) $(CTEST_ARGS)

proof: ## kill at every instruction; ONLY='a|b' picks scenarios, KEEP_GOING=1 goes on (60 minutes at most)
	@$(SETUP) check
	@$(CMAKE) --preset release -DHF_TESTS=ON $(CMAKE_ARGS) >/dev/null
	@$(CMAKE) --build --preset release
	@$(CMAKE) -E make_directory build/proof
	@$(PROOF_PROGRAM) --only "$$HF_ONLY" --levels "$$HF_LEVELS" --state "$$HF_STATE" \
	    --output build/proof/results.json
	@if [ -z "$$HF_ONLY$$HF_LEVELS$$HF_STATE" ]; then \
	    $(MUTANTS_PROGRAM) --equivalents tests/proof/equivalent_mutants.def \
	        --output build/proof/results.json; fi

mutants: ## delete and swap the stores that the proof rests on; ONLY='a|b' picks (30 minutes at most)
	@$(SETUP) check
	@$(CMAKE) --preset release -DHF_TESTS=ON $(CMAKE_ARGS) >/dev/null
	@$(CMAKE) --build --preset release
	@$(MUTANTS_PROGRAM) --equivalents tests/proof/equivalent_mutants.def --only "$$HF_ONLY"

models: ## check the models of the protocols in a larger world, with spin (15 minutes at most)
	@$(SETUP) check
	@sh tests/models/large.sh

fuzz: ## hostile segments, and calls against a model; ONLY='image|calls', FUZZ_SECONDS=60 each (5 minutes)
	@$(SETUP) fuzz
	@$(CMAKE) --preset fuzz $(CMAKE_ARGS) >/dev/null
	@$(CMAKE) --build --preset fuzz --target image-fuzz calls-fuzz
	@$(FUZZ_PROGRAM) --only "$$HF_ONLY" --seconds "$${FUZZ_SECONDS:-60}" --output build/fuzz

soak: ## random calls, killed and stopped at random, for SECONDS=60; SEED=random (2 minutes, or as SECONDS says)
	@$(SETUP) check
	@$(CMAKE) --preset release -DHF_TESTS=ON $(CMAKE_ARGS) >/dev/null
	@$(CMAKE) --build --preset release
	@$(SOAK_PROGRAM) --seconds $(SECONDS) --seed $(SEED) --keep build/soak

bench: ## measure against peers, side by side; ONLY='a|b' picks rows (10 minutes)
	@$(SETUP) bench
	@$(CMAKE) --preset release -DHF_BENCH=ON $(CMAKE_ARGS) >/dev/null
	@$(CMAKE) --build --preset release
	@$(BENCH_PROGRAM) --only "$$HF_ONLY" --output build/bench/results.json

install: ## install into PREFIX (/usr/local), below DESTDIR if given (1 minute)
	@case $$HF_PREFIX in /*) ;; \
	    *) echo "holdfast: PREFIX is not an absolute path: '$$HF_PREFIX'" >&2; exit 2 ;; esac
	@$(SETUP) build
	@$(CMAKE) --preset release -DCMAKE_INSTALL_PREFIX="$$HF_PREFIX" $(CMAKE_ARGS) >/dev/null
	@$(CMAKE) --build --preset release
	@$(CMAKE) --install build/release
	@case "$(DESTDIR)$$HF_PREFIX" in /usr | /usr/ | /usr/local | /usr/local/) \
	    if [ "$$(id -u)" -eq 0 ] && command -v ldconfig >/dev/null; then ldconfig; fi ;; esac

format: ## format the sources (seconds)
	@$(SETUP) format
	@sh scripts/sources.sh | xargs clang-format -i

format-check: ## fail if a source is not formatted (seconds)
	@$(SETUP) format
	@sh scripts/sources.sh | xargs clang-format --dry-run --Werror

lint: ## clang-tidy, shellcheck, the manual page (2 minutes)
	@$(SETUP) lint
	@$(CMAKE) --preset debug -DHF_TESTS=ON -DHF_BENCH=ON $(CMAKE_ARGS) >/dev/null
	@sh scripts/lint.sh build/debug

clean: ## remove build/ (seconds)
	@$(CMAKE) -E rm -rf build

help: ## this list (seconds)
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1@\2/p' Makefile | \
	while IFS=@ read -r name text; do printf '  make %-13s %s\n' "$$name" "$$text"; done
