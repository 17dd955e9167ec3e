# The targets; `make help` lists them. Each sets up what it misses, but those that end in -no-deps.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash
MAKEFLAGS += --no-print-directory

# The interpreter that python/.venv is made from.
export PYTHON ?= python3
# The LFE REPL's program.
LFE ?= lfe
DEMO := examples/tour

# The checkout's own interpreter, whatever is active in the shell that calls make.
OWN_PYTHON := env -u PY_PYTHON -u VIRTUAL_ENV -u PYTHONPATH -u PYTHONHOME
VENV_BIN := $(CURDIR)/python/.venv/bin
CODE_PATH := -pa $(CURDIR)/_build/default/lib/py/ebin
# As seen from python/, where the tools run: from the root they would take erlang/ for the module of that name.
PYTHON_SOURCES := . ../tests ../examples ../scripts/site $(if $(wildcard bench),../bench)
# LFE is in no Debian: where none is on PATH, scripts/setup lfe builds one outside of the checkout, and says where.
OWN_LFE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/py-lfe/bin/lfe

##@ Using it

.PHONY: demo
demo: build ## a guided tour of py, with real results
	@$(OWN_PYTHON) escript $(DEMO)

# The programs in examples/; docs/examples.md shows them.
.PHONY: example-wordcount example-gridsearch example-filter
example-wordcount: build ## count words on one worker and on all; ARGS=--chaos, ARGS=directory
	@$(OWN_PYTHON) escript examples/wordcount $(ARGS)

example-gridsearch: build ## a grid search with scikit-learn, installed on the first run; ARGS='--workers 1'
	@scripts/setup examples
	@$(OWN_PYTHON) escript examples/gridsearch $(ARGS)

example-filter: build ## find the edges of an image in shared memory, and over pipes; ARGS=output.png
	@$(OWN_PYTHON) escript examples/filter $(ARGS)

# docs/python-programs.md shows what they print.
.PHONY: examples-python
examples-python: build ## Python programs that drive pools: a notebook's cells, a grid search by joblib, files from a coroutine, memory limits, arrays, data flows, runs
	@scripts/setup programs
	@for each in examples/python/*.py; do echo "== $$each"; $(OWN_PYTHON) $(VENV_BIN)/python $$each || exit 1; done

.PHONY: shell shell-no-deps
shell: build shell-no-deps ## the Erlang shell with py running
shell-no-deps: ## the same with what is built already
	@erl $(CODE_PATH) -stdlib shell_prompt_func '{py_shell,prompt}'

.PHONY: repl repl-no-deps lfe
repl: build lfe repl-no-deps ## the LFE REPL with py running; an LFE is built where there is none, LFE=path names one
repl-no-deps: ## the same with what is built already
	@lfe=$$(command -v "$(LFE)" || echo '$(OWN_LFE)'); exec "$$lfe" $(CODE_PATH) -nobanner -repl py_shell

lfe:
	@LFE='$(LFE)' scripts/setup lfe

.PHONY: iex iex-no-deps
iex: build elixir _build/elixir/Elixir.Py.beam iex-no-deps ## Elixir's IEx with py running and the module Py
iex-no-deps: ## the same with what is built already
	@iex $(CODE_PATH) -pa _build/elixir -e ':py_shell.banner(:elixir)'

_build/elixir/Elixir.Py.beam: $(wildcard lib/*.ex lib/py/*.ex)
	@mkdir -p _build/elixir && elixirc -pa _build/default/lib/py/ebin -o _build/elixir $^

.PHONY: python python-no-deps
python: build python-no-deps ## Python's prompt with a node running and an executor over its workers
python-no-deps: ## the same with what is built already
	@$(OWN_PYTHON) $(VENV_BIN)/python -i scripts/prompt.py

##@ Working on it

.PHONY: setup
setup: ## install what is missing: Erlang, rebar3, python/.venv
	@scripts/setup erlang python

# Only the tests ask for it; py runs without, and so do they where it can't be had.
.PHONY: sandbox elixir
sandbox elixir:
	@scripts/setup $@

.PHONY: build
build: setup ## compile the application
	@# What is typed ahead is for the shell that follows.
	@rebar3 compile </dev/null

.PHONY: test
test: build sandbox elixir ## all tests: pytest, EUnit, Common Test
	@scripts/test

.PHONY: test-python test-eunit test-ct
test-python test-eunit test-ct: test-%: build sandbox elixir ## one part of the tests
	@scripts/test $*

.PHONY: test-oldest
test-oldest: build ## the core suites with the oldest dependencies allowed and the codec in Python
	@scripts/setup python-oldest
	@scripts/test oldest-python oldest-ct

# Some minutes, on two cores.
.PHONY: test-giving-back
test-giving-back: build ## take a million times calls back from a Python that is about to begin them; none twice, none lost
	@cd python && $(OWN_PYTHON) PY_GIVE_BACKS=1000000 PY_GIVE_BACK_SECONDS=900 $(VENV_BIN)/python -m pytest -q ../tests/python/wire/test_giving_back.py

# The same case of the suites, with more of it: some minutes.
.PHONY: test-runs
test-runs: build ## kill a node 20 times over 500 durable runs: each has its result, no two attempts overlap
	@$(OWN_PYTHON) PY_RUN_KILLS=20 PY_RUN_COUNT=500 rebar3 ct --suite tests/erlang/functions/py_runs_deaths_SUITE \
		--case killed_again_and_again_every_run_has_its_result,without_retries_each_that_was_lost_is_an_error

.PHONY: test-packaging
test-packaging: setup ## use as a dependency, in a release and as a wheel, from the last commit
	@$(OWN_PYTHON) tests/packaging/run

# Some minutes; it fetches small packages.
.PHONY: test-releases
test-releases: setup ## make the releases of docs/releases.md from the last commit, with their Python, and ask them over HTTP
	@$(OWN_PYTHON) tests/releases/run $(VENV_BIN)/python

# ERLPORT is the directory of a clone of ErlPort, which is no part of this repository.
.PHONY: test-erlport
test-erlport: build ## ErlPort's own tests, from its clone in ERLPORT=directory, with its halves and ours
	@$(OWN_PYTHON) PYTHON=$(VENV_BIN)/python tests/erlport/run "$(ERLPORT)"

# TESTS is CPython's test_concurrent_futures of the same version, for an interpreter that came without, where apt has none.
# LIBERTEM is a directory with LiberTEM's sources, where pip can't fetch them. Its tests take some minutes.
.PHONY: test-peers test-libertem
test-peers: build ## CPython's own tests of executors with PoolExecutor, LiberTEM's with PoolJobExecutor: TESTS=, LIBERTEM=
	@$(OWN_PYTHON) $(VENV_BIN)/python tests/peers/run $(if $(TESTS),--tests "$(TESTS)")
	@$(MAKE) test-libertem

test-libertem: build ## LiberTEM's own tests, fetched, with PoolJobExecutor in the places of its executors: LIBERTEM=directory
	@scripts/setup arrays
	@$(OWN_PYTHON) $(VENV_BIN)/python tests/peers/libertem $(if $(LIBERTEM),--tests "$(LIBERTEM)")

# As root, with mmdebstrap; each takes some 15 minutes.
.PHONY: test-systems
test-systems: ## README's two commands on a fresh Debian 12 and 13: SYSTEMS=trixie, SYSTEMS=--clean
	@scripts/test-systems $(SYSTEMS)

# As root, with mmdebstrap. Some minutes for each of the four languages.
.PHONY: test-first
test-first: ## from nothing to numpy's answer on them, in Erlang, LFE, Elixir and Python: a table; LFE_URL=directory has a clone of LFE
	@FIRST=1 scripts/test-systems $(SYSTEMS)

# SVG=file for a picture. bench-compare measures BASE, in a clone of its own, and this tree in turns.
ROUNDS ?= 5
BASE ?= HEAD
.PHONY: bench bench-compare
bench: build ## ours beside the floors: a table, bench/results/*.json, SVG=docs/img/bench.svg
	@scripts/bench . $(ROUNDS) $(if $(SVG),--svg $(SVG))
	@echo; $(OWN_PYTHON) $(VENV_BIN)/python bench/codec.py

.PHONY: bench-nodes
bench-nodes: build ## calls to other nodes with a delay on the way: a table
	@$(OWN_PYTHON) bench/nodes/run $(VENV_BIN)/python $(NODES)

.PHONY: bench-preload
bench-preload: build ## what preload saves, with scikit-learn: time to serve after a kill, memory of eight workers
	@scripts/setup examples
	@$(OWN_PYTHON) bench/preload/run $(CURDIR)/python/.venv-examples/bin/python $(ROUNDS)

.PHONY: bench-rows
bench-rows: build ## 1,000 rows there and back in each form that they may have: a table
	@$(OWN_PYTHON) bench/rows/run $(VENV_BIN)/python $(ROUNDS)

# SVG=file for a picture.
.PHONY: bench-growth
bench-growth: build ## what one costs among 1, 10, 100 times as many workers, callers, handles, sessions, streams: a table
	@$(OWN_PYTHON) bench/growth/run $(VENV_BIN)/python $(ROUNDS) $(SVG)

.PHONY: bench-runs
bench-runs: build ## durable runs a second, from Erlang and of functions from Python, beside one sync of this disk; listing, beginning and starting among 10,000 and 100,000: a table
	@$(OWN_PYTHON) bench/runs/run $(VENV_BIN)/python $(DIRECTORY)
	@$(OWN_PYTHON) $(VENV_BIN)/python bench/runs/functions.py $(DIRECTORY)

.PHONY: bench-page
bench-page: build ## the page with 64 workers, 10,000 runs and a flood: what a look costs, what browsers get, memory over an hour's looks
	@scripts/setup page
	@$(OWN_PYTHON) $(VENV_BIN)/python bench/page/run $(WORKERS) $(RUNS)

# What it needs is fetched into a directory of its own.
.PHONY: test-nuclio
test-nuclio: setup ## nuclio_sdk's own tests with this package's classes: the same pass as with its own (58 of 63 on Python 3.11)
	@test -x _build/nuclio/bin/python || $(VENV_BIN)/python -m venv _build/nuclio
	@_build/nuclio/bin/python -m pip install -qq --disable-pip-version-check nuclio_sdk==0.6.3 pytest pytest-asyncio
	@tests=$$(_build/nuclio/bin/python -c 'import nuclio_sdk.test as t; print(t.__path__[0])'); \
	for path in '' python:tests/nuclio; do \
	    PYTHONPATH=$$path _build/nuclio/bin/python -m pytest -q -p no:cacheprovider --import-mode=importlib $${path:+-p conftest} $$tests | tail -n 1 | sed 's/ in .*//'; \
	done | uniq -c | tee _build/nuclio/result; test $$(wc -l < _build/nuclio/result) = 1

# With httptools and uvloop on both sides; wrk is Debian's.
.PHONY: bench-services
bench-services: build ## services beside uvicorn --workers 2, in one run, by wrk: a table of requests a second, p99 and ratios
	@$(VENV_BIN)/python -m pip install -qq --disable-pip-version-check httptools uvloop
	@$(OWN_PYTHON) $(VENV_BIN)/python bench/services/run $(ROUNDS)

.PHONY: bench-link
bench-link: build ## PoolExecutor beside Pool, ProcessPoolExecutor, loky, dask and ray in one run: a table of ratios
	@scripts/setup peers
	@$(OWN_PYTHON) $(CURDIR)/python/.venv-peers/bin/python bench/link/run $(ROUNDS)

.PHONY: bench-compute
bench-compute: build ## LiberTEM on a pool beside its own executors, dask, threads and inline, in one run: a table of ratios
	@scripts/setup arrays
	@$(OWN_PYTHON) $(VENV_BIN)/python bench/compute/run $(ROUNDS)

# At least 1.5 GB of memory and 1 GB of temporary files.
.PHONY: bench-dataflow
bench-dataflow: build ## KMeans beside joblib, dask and scikit-learn alone, words of 100 MB beside dask.bag, in one run: a table
	@scripts/setup peers
	@$(OWN_PYTHON) $(CURDIR)/python/.venv-peers/bin/python bench/dataflow/run $(ROUNDS)

# What is fetched goes to PEERS=directory, outside of the checkout.
.PHONY: bench-peers
bench-peers: build ## beside multiprocessing, ProcessPoolExecutor, loky, dask, ray and ErlPort, in one run: a table
	@$(OWN_PYTHON) bench/peers/run $(VENV_BIN)/python $(ROUNDS)

bench-compare: build ## the same in turns with that of BASE=revision
	@scripts/bench-compare $(BASE) $(ROUNDS)

.PHONY: fuzz
fuzz: SECONDS ?= 60
fuzz: setup ## fuzz the compiled codec for SECONDS=60, with clang and atheris
	@$(OWN_PYTHON) PYTHON=$(VENV_BIN)/python tests/fuzz/run $(SECONDS)

.PHONY: soak
soak: MINUTES ?= 1
soak: build ## load and chaos side by side for MINUTES=1, with the books kept; SEED=number repeats the choices
	@$(OWN_PYTHON) PYTHON=$(VENV_BIN)/python tests/soak/run $(MINUTES) $(SEED)

.PHONY: check check-erlang check-python
check: check-erlang check-python ## static checks: xref and dialyzer, ruff and mypy

check-erlang: setup
	rebar3 as check do xref, dialyzer

check-python: setup
	@scripts/setup python-check
	cd python && $(VENV_BIN)/ruff check --config pyproject.toml $(PYTHON_SOURCES)
	cd python && $(VENV_BIN)/ruff format --check --config pyproject.toml $(PYTHON_SOURCES)
	cd python && $(VENV_BIN)/mypy

# The name is the default of the pools' option image.
.PHONY: docker-image
docker-image: ## the image of pools with sandbox => docker, from docker/Dockerfile
	docker build --file docker/Dockerfile --tag erl-py-sandbox .

.PHONY: wheel
wheel: setup ## erl-bridge with its compiled codec and its Erlang half, for other machines: python/dist/*.whl
	@$(OWN_PYTHON) $(VENV_BIN)/python -m pip wheel -q --no-deps --wheel-dir python/dist ./python && ls python/dist/*.whl

# URL is the repository's, which stands in the packages. Some minutes.
.PHONY: release
release: setup ## what is published of the last commit, each tried where there is nothing else; prints what to upload where, uploads nothing: URL=
	@PYTHON=$(or $(PYTHON),python3) URL='$(URL)' scripts/release

.PHONY: docs
docs: setup ## the modules' reference, in _build/doc
	rebar3 edoc

# A link that leads nowhere ends it. The search asks for a server: python3 -m http.server -d _build/site
.PHONY: site
site: docs ## the pages of docs/ as a site, with search and the references of both halves, in _build/site
	@scripts/setup site
	@NO_MKDOCS_2_WARNING=1 $(OWN_PYTHON) $(VENV_BIN)/mkdocs build --strict -f scripts/site/mkdocs.yml
	@echo 'in _build/site; to look at it: python3 -m http.server -d _build/site'

.PHONY: clean
clean: ## remove what was built
	rm -rf _build/default/lib _build/test _build/doc _build/site python/build python/dist

.PHONY: distclean
distclean: ## remove all that make has made, python/.venv too
	rm -rf _build python/.venv python/.venv-oldest python/.venv-examples python/.venv-peers python/build python/dist python/erl_bridge.egg-info
	rm -rf .pytest_cache .hypothesis python/.mypy_cache python/.ruff_cache python/.pytest_cache

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
	    /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	    /^[a-z%][a-z -]*:.*## / { split($$1, names, ":"); printf "  make %-32s %s\n", names[1], $$2 }' $(MAKEFILE_LIST)
