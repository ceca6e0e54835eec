# make walkthrough  data, all notebooks headless, figures, a trained checkpoint
# make test         linter, type checker, all tests
# make lab          the notebooks in JupyterLab
# make explorer     the explorer as a page of its own; CHECKPOINT=runs/darkroom opens another agent
# make screenshots  docs/screenshots anew, by the tests of the pages
# make bench        the benchmarks, results and one page under runs/benchmarks: about ten minutes
# make clean        remove what the above left, but for .venv and the pictures
.POSIX:
.PHONY: walkthrough lint test lab explorer screenshots bench clean
.DELETE_ON_ERROR:

PYTHON = python3
BIN = .venv/bin
NOTEBOOKS = runs/walkthrough
CHECKPOINT = checkpoints/darkroom-dm-h

# what a page's server and its kernels say to each other; else each kernel warns that anyone might listen
ENCRYPTED = --MappingKernelManager.transport_encryption=auto

# packages are compiled to bytecode as they are imported, since most never are. Where this is set, as in many
# containers, each process would compile them again: half of the time that it takes to start
export PYTHONDONTWRITEBYTECODE =

PIP = $(BIN)/python -m pip install --disable-pip-version-check --quiet --no-compile --constraint constraints.txt

.venv/packages: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit(f"Python 3.11 to 3.13 is needed, this is {v[0]}.{v[1]}: make PYTHON=/path/to/python3")'
	$(PYTHON) -m venv .venv
	$(PIP) --editable '.[dev]'
	touch $@

.venv/installed: .venv/packages
	@echo "compiling the CPU kernels once, about a minute"
	$(BIN)/python -c "from dmh_lib.warm_up import warm_up; warm_up(progress=True)"
	@# or JupyterLab asks whether to fetch news from another host, in a box that covers part of the page
	$(BIN)/jupyter labextension disable --level=sys_prefix @jupyterlab/apputils-extension:announcements 2>/dev/null
	touch $@

walkthrough: .venv/installed
	$(BIN)/dmh data make --env darkroom --out data/darkroom-searcher.hdf5 searcher
	$(BIN)/dmh data make --env darkroom --out data/darkroom-q-learning.hdf5 q-learning
	set -e; for notebook in notebooks/[01]*.ipynb; do \
		$(BIN)/dmh run $$notebook --output $(NOTEBOOKS)/$${notebook##*/}; \
	done
	@echo "executed notebooks: $(NOTEBOOKS)/, pictures: figures/, checkpoint: runs/darkroom/"

# what learns MuJoCo's policies, half a gigabyte that only tests and data need
.venv/behaviour: .venv/packages
	$(PIP) --editable '.[behaviour]'
	touch $@

lint: .venv/packages
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# the last tests have the cores to themselves: Ray gives its processes little time to start, and a page, its kernel
# and the browser work together
test: .venv/installed .venv/behaviour lint
	$(BIN)/pytest --numprocesses 2 --dist worksteal --durations 10 --ignore tests/browser --ignore tests/processes/test_sweep_on_ray.py
	$(BIN)/pytest --durations 10 tests/processes/test_sweep_on_ray.py tests/browser

lab: .venv/installed
	$(BIN)/jupyter lab --ip 127.0.0.1 $(ENCRYPTED) notebooks

# open the address that it prints; it holds a token, without which the page stays closed. A page that is closed
# leaves its kernel behind, half a gigabyte, which is ended after ten minutes
explorer: .venv/installed
	DMH_CHECKPOINT="$(CHECKPOINT)" JUPYTER_PATH="$$(pwd)/notebooks/app" \
	$(BIN)/voila --Voila.ip=127.0.0.1 --token --no-browser --template=dmh \
		--MappingKernelManager.cull_interval=60 --MappingKernelManager.cull_idle_timeout=600 $(ENCRYPTED) \
		notebooks/app/explorer.ipynb

screenshots: .venv/installed
	mkdir -p docs/screenshots
	DMH_BROWSER=required DMH_SCREENSHOTS=docs/screenshots $(BIN)/pytest tests/browser -k 'lab and not files and not another'

bench: .venv/installed
	$(PIP) --editable '.[bench]'
	$(BIN)/dmh bench all --dir runs/benchmarks

clean:
	rm -rf $(NOTEBOOKS) runs/darkroom runs/tmaze runs/benchmarks data/darkroom-searcher.* data/darkroom-q-learning.* data/01_searcher.hdf5
	rm -rf figures/*.html figures/*.js dmh_lib/*/__pycache__ .mypy_cache .pytest_cache .ruff_cache .hypothesis
