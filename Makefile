# Everything sets itself up: `make demo` and `make test` create .venv from requirements.lock.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test check lint docs bench clean

install: .venv/.dev

# The core is enough for the demo; torch and the tools come only with .dev.
.venv/.core: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e .
	touch $@

.venv/.dev: .venv/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev]'
	# gymnax asks for an older Gymnasium than ours, and works with it; the others it imports.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c requirements.lock gymnax pandas seaborn
	touch $@

demo: .venv/.core
	$(BIN)/python examples/demo.py

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The same and the slow tests.
check: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m ''

# The site, lessons executed (those that changed), in docs/_build/html.
docs: .venv/.dev
	$(BIN)/python -m sphinx -q -W --keep-going -b html -c docs . docs/_build/html

bench: .venv/.dev
	for name in $$($(BIN)/python -m benchmarks | cut -d' ' -f1); do $(BIN)/python -m benchmarks $$name --json; done

clean:
	rm -rf .venv build dist docs/_build docs/reference/generated *.egg-info
