# make demo   shows what the maps are, trains with and without the boundary loss, and shows what came of it
# make test   runs the quick tests
# make check  linters, types and tests
# make docs   builds the documentation into build/docs
# make test-levels     the tests of what a processor may round in another way, at older instruction sets
# make test-without-native  maps, losses and metrics as where no compiler was there at the install
# make test-sanitized  the distance maps under the address and undefined-behaviour sanitizers
# make bench  times the distance maps beside those of other packages
# make bench-metrics   times the distances between contours beside those of other packages
# make bench-evaluate  times `evaluate` beside the reading of its files
# make bench-report    times the report of 300 runs, and says how large its page is
# make test-frameworks  trains and predicts with nnU-Net, and with smp, in an environment of its own
# make test-gpu bench-gpu  tests and times the kernels on the GPU; with a Python of your own:
#             make test-gpu bench-gpu INSTALLED= BIN=/path/to/bin

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SANITIZED := build/sanitized
FRAMEWORKS := build/frameworks
INSTALLED := $(VENV)/.installed
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo docs test test-slow test-without-native test-frameworks test-gpu test-levels test-sanitized check lint bench bench-gpu bench-metrics bench-evaluate bench-report clean
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	@rm -rf demo
	$(BIN)/boundaryloss demo --out demo

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow and not gpu"

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -q -m "slow and not gpu"

# Torch and oneDNN as on older processors and at their best, on one thread and on two. The native kernels change
# their level within the tests of distance maps.
LEVELS := "ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41" "ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2" \
    "ONEDNN_MAX_CPU_ISA=DEFAULT"
AT_LEVELS := tests/distance/test_distance_transform.py tests/losses/test_boundary_loss.py tests/losses/test_log_boundary_loss.py tests/losses/test_lesion_balance.py \
    tests/training/test_losses.py tests/training/test_processes.py tests/training/test_resume.py
test-levels: $(INSTALLED)
	@for threads in 1 2; do for level in $(LEVELS); do echo "$$level OMP_NUM_THREADS=$$threads"; done; done | xargs -L 1 -P 2 \
	    sh -c 'echo "$$@"; env "$$@" OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -q -m "not slow and not gpu" -k "not compiles" $(AT_LEVELS)' sh

# Maps, losses and metrics as where the extension could not be built.
test-without-native: $(INSTALLED)
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -p without_native -m "not slow and not gpu" \
	    tests/distance tests/losses tests/metrics

# The native kernels rebuilt with the compiler's checks of memory and of undefined behaviour.
test-sanitized: $(INSTALLED)
	@rm -rf $(SANITIZED) && $(BIN)/python -m venv $(SANITIZED)
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	    > $$($(SANITIZED)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/others.pth
	@$(SANITIZED)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps . \
	    --config-settings=cmake.define.BOUNDARYLOSS_SANITIZE=ON --config-settings=build-dir=$(SANITIZED)/build
	@test -n "$$(find $(SANITIZED)/build -name '_native*.so')" || { echo "the native code was not built"; exit 1; }
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	    $(SANITIZED)/bin/python -m pytest -q tests/distance tests/metrics tests/losses/test_lesion_balance.py -m "not slow and not gpu" -p no:cacheprovider

# An index may have a torchvision for another build of torch only: it is then imported without its kernels.
test-frameworks: $(FRAMEWORKS)/.installed
	PYTHONPATH=$$($(FRAMEWORKS)/bin/python -c 'import torchvision' 2>/dev/null || echo $(CURDIR)/tests/integrations/torchvision_without_kernels) \
	    $(FRAMEWORKS)/bin/python -m pytest -q tests/integrations/test_nnunet.py tests/integrations/test_nnunet_training.py tests/test_examples.py

$(FRAMEWORKS)/.installed: pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/*)
	@test -x $(FRAMEWORKS)/bin/python || $(PYTHON) -m venv $(FRAMEWORKS)
	@$(FRAMEWORKS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "torch>=2.4"
	@$(FRAMEWORKS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,nnunet]" segmentation-models-pytorch
	@touch $@

test-gpu: $(INSTALLED)
	@$(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || { echo "no GPU: torch.cuda.is_available() is False in $(BIN)/python"; exit 1; }
	$(BIN)/python -m pytest -q tests/distance/test_cuda.py tests/distance/test_components.py tests/losses/test_fused.py $(wildcard tests/*/*_on_gpu.py)

check: lint test

bench: $(INSTALLED)
	$(PIP_INSTALL) edt opencv-python-headless SimpleITK
	$(BIN)/python benchmarks/bench_cpu.py

bench-gpu: $(INSTALLED)
	$(BIN)/python benchmarks/bench_gpu.py

# What they need is installed beside them, but for MedPy's and surface-distance's own choice of NumPy and SciPy.
bench-metrics: $(INSTALLED)
	$(PIP_INSTALL) --no-deps medpy surface-distance
	$(PIP_INSTALL) absl-py simpleitk pymeshmetrics
	$(BIN)/python benchmarks/bench_metrics.py

bench-evaluate: $(INSTALLED)
	$(BIN)/python benchmarks/bench_evaluate.py

bench-report: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_report.py

docs: $(INSTALLED)
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env docs build/docs
	@echo "build/docs/index.html"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

$(INSTALLED): pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/*)
	@command -v $(PYTHON) >/dev/null || { echo "boundaryloss needs Python >= 3.10: install python3, or say where it is with 'make PYTHON=...'"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "boundaryloss needs Python >= 3.10: say where it is with 'make PYTHON=...'"; exit 1; }
	@command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || { echo "boundaryloss needs a C++ compiler (GCC or Clang): install one, e.g. 'apt install g++' or 'xcode-select --install'"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python cannot make a virtual environment: install it, e.g. 'apt install python3-venv'"; exit 1; }
	@echo "Installing into $(VENV): a few minutes the first time"
	@$(PIP_INSTALL) "torch>=2.4"
	@$(PIP_INSTALL) --editable ".[dev]"
	@$(BIN)/python -c "from boundaryloss.distance import _native" || { echo "the native code was not built; to see why: $(BIN)/python -m pip install -v --no-deps --editable ."; exit 1; }
	@touch $@

clean:
	rm -rf $(VENV) build demo
