# make demo and make test do all set-up themselves: a virtual environment in .venv, and the package installed from a wheel.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find cc ops python cmake -type f -not -name '*.pyc' -not -name '*.so') CMakeLists.txt setup.py pyproject.toml README.md
PYTHON_SOURCES := setup.py cmake python tests examples benchmarks
CXX_SOURCES := $(shell find cc ops python tests -name '*.cc' -o -name '*.cu' -o -name '*.cuh' -o -name '*.h')

.PHONY: all demo test lint format sanitize cc-test cuda-report wheel benchmark clean FORCE

all: test

# One environment serves every target. TensorFlow is there before the build, which takes its headers from it.
$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "setuptools>=77" "cmake>=3.24" ninja "pybind11>=2.13"
	$(BIN)/python cmake/install_requirements.py test lint plot examples
	touch $@

# Where nvcc is found, the kernels for all GPUs take minutes. What is only tried out has machine code for two, and for the others PTX that
# they compile when they load it.
demo test: export DETLOSS_CUDA_ARCHITECTURES ?= 75;90-real
test: export DETLOSS_CUDA_WERROR ?= ON

# Another choice of CUDA makes another wheel.
CUDA_CHOICE = $(foreach name,CUDA CUDA_TOOLKIT CUDA_ARCHITECTURES,$(DETLOSS_$(name)),)
$(VENV)/cuda-choice: FORCE | $(VENV)/installed
	@echo '$(CUDA_CHOICE)' | cmp --silent - $@ || echo '$(CUDA_CHOICE)' > $@

$(VENV)/wheel: $(VENV)/installed $(VENV)/cuda-choice $(SOURCES)
	rm -rf dist build/lib.* build/bdist.*
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	$(BIN)/python -m pip install --quiet --no-deps --force-reinstall dist/detloss-*.whl
	touch $@

wheel: $(VENV)/wheel

# Trains a small SSD and a small YOLOv3 on real images, each with the reference loss and with the fused one; pictures in
# demo-output/.
demo: $(VENV)/wheel
	TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/python examples/train_ssd_digits.py --output demo-output/ssd
	TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/python examples/train_yolov3_digits.py --output demo-output/yolov3

test: lint cc-test $(VENV)/wheel
	@$(BIN)/python cmake/print_cuda.py
	TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/python -m pytest tests --numprocesses 2 --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/installed
	$(BIN)/ruff check $(PYTHON_SOURCES)
	$(BIN)/ruff format --check $(PYTHON_SOURCES)
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CXX_SOURCES)

format: $(VENV)/installed
	$(BIN)/ruff check --fix $(PYTHON_SOURCES)
	$(BIN)/ruff format $(PYTHON_SOURCES)
	$(BIN)/clang-format -i $(CXX_SOURCES)

# The tests of cc/, optimised and then with AddressSanitizer and UndefinedBehaviorSanitizer. They run on the host; the wheel has the CUDA kernels.
cc-test: $(VENV)/installed
	PATH="$(abspath $(BIN)):$$PATH" cmake -S . -B build/cc-test -GNinja -DDETLOSS_PYTHON=OFF -DDETLOSS_TESTS=ON -DDETLOSS_CUDA=OFF
	PATH="$(abspath $(BIN)):$$PATH" cmake --build build/cc-test
	PATH="$(abspath $(BIN)):$$PATH" ctest --test-dir build/cc-test --output-on-failure

sanitize: $(VENV)/installed
	PATH="$(abspath $(BIN)):$$PATH" cmake -S . -B build/sanitize -GNinja -DDETLOSS_PYTHON=OFF -DDETLOSS_TESTS=ON -DDETLOSS_CUDA=OFF \
	  -DCMAKE_BUILD_TYPE=RelWithDebInfo -DDETLOSS_SANITIZE=ON
	PATH="$(abspath $(BIN)):$$PATH" cmake --build build/sanitize
	PATH="$(abspath $(BIN)):$$PATH" ctest --test-dir build/sanitize --output-on-failure

# What each CUDA kernel takes on each architecture; fails where registers spill or a compiler warns.
cuda-report: $(VENV)/installed
	PATH="$(abspath $(BIN)):$$PATH" cmake -S . -B build/cuda-report -GNinja -DDETLOSS_PYTHON=OFF -DDETLOSS_CUDA=ON \
	  -DDETLOSS_CUDA_ARCHITECTURES="$(DETLOSS_CUDA_ARCHITECTURES)" -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
	$(BIN)/python cmake/cuda_report.py build/cuda-report

# The recorded results of the README.
benchmark: $(VENV)/wheel
	$(BIN)/python benchmarks/record.py

clean:
	rm -rf build dist demo-output python/*.egg-info
