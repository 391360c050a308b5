# Everything from a bare machine: Python 3.11 or newer with its venv module, make and bash.
# Each target makes the environment first if it is missing, or if the lock file has changed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
STUDY ?= config/config.yaml
SIZE ?= cpu
CORES ?= all
WORKERS ?= 2
# Graphics cards for the study: as many as the driver shows, 0 for a run on CPUs.
GPUS ?= $(shell nvidia-smi -L 2>/dev/null | grep -c '^GPU')

BIN := $(CURDIR)/$(VENV)/bin
STAMP := $(VENV)/installed
export PATH := $(BIN):$(PATH)

# The stamp holds the folder it was made in: a copied or moved environment does not work, so make it anew.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

.PHONY: help env report claims test test-all test-faults test-gpu test-kernels test-slurm peers bench lint format lock clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

env: $(STAMP) ## the environment in .venv

report: $(STAMP) ## run the study (STUDY=config/config.yaml) and write its HTML report
	@sharing=$$(sed -nE 's/^jobs_per_gpu: *([0-9]+).*/\1/p' $(STUDY)); \
	snakemake --cores $(CORES) --resources gpu=$$(($(GPUS) * $${sharing:-1})) --configfile $(STUDY)
	@echo; echo "The report, one file for a browser:  reports/$$(sed -nE "s/^name: *['\"]?([^ #'\"]+).*/\1/p" $(STUDY))/index.html"

claims: $(STAMP) ## put the lecture's claims to the test (SIZE=cpu, over an hour on two cores; SIZE=gpu)
	@snakemake claims --cores $(CORES) --resources gpu=$(GPUS) --config size=$(SIZE)
	@echo; echo "The verdicts:  reports/claims-$(SIZE)/index.html"

test: $(STAMP) ## the tests that everyone runs before a commit
	@pytest -n $(WORKERS)

test-all: $(STAMP) ## all tests but those with Slurm: slow ones, accidents, pages in Chromium (from Debian, as root)
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium; }
	@pytest -n $(WORKERS) -m 'not slurm and not gpu and not kernels'
	@$(MAKE) test-kernels

test-faults: $(STAMP) ## kills, full disks, broken servers and other accidents, about half an hour
	@pytest -n $(WORKERS) -m faults

test-gpu: $(STAMP) ## what only a graphics card can show, on this machine's
	@pytest -m gpu

test-kernels: $(STAMP) ## what torch.compile writes for graphics cards, run on a CPU by an interpreter
	@python -m pytest -n $(WORKERS) -p tests.kernels.interpreter -m kernels tests/kernels

test-slurm: $(STAMP) ## the Slurm profile against a real Slurm on this machine; installs it from Debian, as root
	@missing=(); for tool in slurmctld slurmd munged; do command -v $$tool >/dev/null || missing+=($$tool); done; \
	if (($${#missing[@]})); then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends slurm-wlm munge; \
	fi
	@pytest -m slurm

peers: $(STAMP) ## add the libraries that benchmarks/peers compares with to the environment
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --no-deps \
	  --require-hashes -r benchmarks/requirements.lock

bench: $(STAMP) ## all benchmarks but those against peers, half an hour to over an hour on two idle cores
	@for name in training augmentation evaluation data packing cost dag; do \
	  echo; echo "python -m benchmarks.$$name"; python -m benchmarks.$$name; \
	done

lint: $(STAMP) ## style, types and the workflow's own checks
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow benchmarks
	snakemake --lint

format: $(STAMP) ## put the code into shape
	ruff check --fix --quiet .
	ruff format --quiet .
	snakefmt Snakefile workflow benchmarks

lock: ## resolve pyproject.toml anew into requirements.lock (UPGRADE=--upgrade for newer versions)
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	@cp -f requirements.lock requirements.lock.part
	@uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --fork-strategy fewest \
	  --no-config --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --quiet $(UPGRADE) --output-file requirements.lock.part
	@{ echo "# Every package of the environment, with the SHA-256 of each of its files."; \
	   echo "# Made from pyproject.toml by 'make lock', installed by 'make env' with --require-hashes."; \
	   cat requirements.lock.part; } > requirements.lock
	@rm requirements.lock.part
# What the peers need beyond the environment, at the environment's versions where they share a package.
	@uv pip compile --group peers --constraint requirements.lock --universal --python-version 3.11 \
	  --no-config --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --quiet --output-file benchmarks/requirements.lock.part
	@{ echo "# What 'make peers' adds to the environment, with the SHA-256 of each of its files."; \
	   python3 benchmarks/beyond.py requirements.lock benchmarks/requirements.lock.part; } \
	  > benchmarks/requirements.lock
	@rm benchmarks/requirements.lock.part

clean: ## remove the environment and caches; results and reports stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis replearn.egg-info
	find replearn tests workflow -name __pycache__ -type d -prune -exec rm -rf {} +

# A distribution may name a newer Python beside an old python3, or ship Python without venv.
define FIND_PYTHON
for python in "$(PYTHON)" python3.13 python3.12 python3.11 none; do \
  "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
    2>/dev/null && break; \
done; \
if [ "$$python" = none ]; then \
  { echo "replearn needs Python 3.11 to 3.13 with its venv module; found:"; \
    "$(PYTHON)" -c 'import sys; print("  Python", sys.version.split()[0]); import venv, ensurepip' 2>&1 | grep -v '^ *File\|^Traceback\|^ *import' || true; \
    echo "On Debian and Ubuntu: sudo apt-get install python3-venv"; \
    echo "With another Python:  make PYTHON=/path/to/python3.12 ..."; } >&2; \
  exit 1; \
fi
endef

# pip's own lines go to a log; a terminal sees how far it is, and everyone sees what went wrong.
define SHOW_PIP
done=0; \
while IFS= read -r line; do \
  case "$$line" in \
    Collecting\ *|Processing\ *|Requirement\ already*) \
      done=$$((done + 1)); [ ! -t 1 ] || printf '\r\033[K  %s of %s' $$done $$total ;; \
    Installing\ *) [ ! -t 1 ] || printf '\r\033[K  all fetched, unpacking (the longer half)' ;; \
    ERROR:*|*[Ee]rror:\ *) printf '\n%s\n' "$$line" >&2 ;; \
  esac; \
done; \
[ ! -t 1 ] || echo
endef

# The stamp comes last: after an interruption, pip goes on where it stopped.
$(STAMP): requirements.lock pyproject.toml
	@if [ -e $(STAMP) ] && [ "$$(cat $(STAMP))" != "$(CURDIR)" ] || ! "$(BIN)/python" -m pip --version >/dev/null 2>&1; then \
	  $(FIND_PYTHON); \
	  echo "Making the environment in $(VENV) with $$("$$python" --version)"; \
	  rm -rf $(VENV); \
	  "$$python" -m venv $(VENV); \
	fi
	@total=$$(grep -c '==' requirements.lock); \
	echo "Installing up to $$total pinned packages, PyTorch among them: about three minutes and 6 GB"; \
	"$(BIN)/python" -m pip install --disable-pip-version-check --no-compile --progress-bar off \
	  --require-hashes -r requirements.lock 2>&1 | tee $(VENV)/install.log | { $(SHOW_PIP); } \
	|| { echo "The installation did not finish; pip's account is in $(VENV)/install.log" >&2; exit 1; }
# Where Python may not write bytecode, as in many containers, every job would compile torch anew.
# (A few packages hold files for other Pythons, which do not compile.)
	@"$(BIN)/python" -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@echo "$(CURDIR)" > $(STAMP)
	@echo "The environment is ready."
