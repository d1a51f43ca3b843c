# make demo and make test do all set-up themselves: a virtual environment in .venv, and the package installed from a wheel.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find cc ops python cmake -type f -not -name '*.pyc' -not -name '*.so') CMakeLists.txt setup.py pyproject.toml README.md
PYTHON_SOURCES := setup.py cmake python tests examples benchmarks
CXX_SOURCES := $(shell find cc ops python tests -name '*.cc' -o -name '*.cu' -o -name '*.cuh' -o -name '*.h')

.PHONY: all demo test lint format sanitize cc-test cuda-report wheel benchmark gpu-build gpu-test gpu-benchmark clean FORCE

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
# Where no GPU is, the demo has no use for them.
demo: export DETLOSS_CUDA ?= $(shell nvidia-smi -L > /dev/null 2>&1 && echo AUTO || echo OFF)

# Another choice of CUDA makes another wheel.
CUDA_CHOICE = $(foreach name,CUDA CUDA_TOOLKIT CUDA_ARCHITECTURES,$(DETLOSS_$(name)),) $(shell command -v nvcc)
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
	PATH="$(abspath $(BIN)):$$PATH" cmake -S . -B build/cc-test -GNinja -DDETLOSS_PYTHON=OFF -DDETLOSS_TESTS=ON -DDETLOSS_CUDA=OFF \
	  -DPython_EXECUTABLE=$(abspath $(BIN))/python -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)"
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

# On a machine with a GPU, with or without TensorFlow and a network: GPU_PYTHON and its packages are taken as they are, and the first step
# says what they lack.
GPU_PYTHON ?= $(PYTHON)
GPU_BUILD := build/gpu/cmake
GPU_PACKAGE := build/gpu/package
GPU_RUN = PATH="$$PATH:$$($(GPU_PYTHON) -c 'import sys; print(sys.prefix)')/bin" PYTHONPATH=$(abspath $(GPU_PACKAGE)) TF_CPP_MIN_LOG_LEVEL=2
GPU_HAS = $(GPU_PYTHON) tests/gpu/machine.py --has

gpu-build:
	$(GPU_PYTHON) tests/gpu/machine.py
	$(GPU_RUN) cmake -S . -B $(GPU_BUILD) -DCMAKE_BUILD_TYPE=Release -DDETLOSS_CUDA=ON $$($(GPU_PYTHON) tests/gpu/machine.py --cmake)
	$(GPU_RUN) cmake --build $(GPU_BUILD) --parallel $$(nproc)
	rm -rf $(GPU_PACKAGE)
	mkdir -p $(GPU_PACKAGE)
	cp -R python/detloss $(GPU_PACKAGE)/
	rm -f $(GPU_PACKAGE)/detloss/*.so
	$(GPU_RUN) cmake --install $(GPU_BUILD) --prefix $(GPU_PACKAGE)

# In two processes: PyTorch and TensorFlow bring libraries of the same names. The second one may skip everything, for which pytest returns 5.
gpu-test: gpu-build
	$(GPU_RUN) $(GPU_PYTHON) -m pytest tests/test_device.py tests/test_device_benchmark.py tests/gpu --ignore tests/gpu/test_tensorflow_gpu.py \
	  $(PYTEST_ARGS)
	$(GPU_RUN) $(GPU_PYTHON) -m pytest tests/gpu/test_tensorflow_gpu.py $(PYTEST_ARGS) || test $$? -eq 5

GPU_RECORDS := benchmarks/losses_gpu
GPU_BENCHMARK_ARGS ?= --what forward_backward
GPU_TENSORFLOW_ARGS ?= --what forward_backward --implementation fused reference --batch 8 32 128 \
  --preset ssd300-voc ssd300-coco yolov3-416-coco
gpu-benchmark: gpu-build
	if $(GPU_HAS) torch; then \
	  $(GPU_RUN) $(GPU_PYTHON) -m detloss.benchmark.gpu $(GPU_BENCHMARK_ARGS) --json $(GPU_RECORDS).json \
	    $$($(GPU_HAS) matplotlib && echo --plot $(GPU_RECORDS).png); \
	else echo "skipped: the kernels beside PyTorch's, which is not installed"; fi
	if test -f $(GPU_PACKAGE)/detloss/_ops.so; then \
	  $(GPU_RUN) $(GPU_PYTHON) -m detloss.benchmark --device gpu $(GPU_TENSORFLOW_ARGS) --json $(GPU_RECORDS)_tensorflow.json; \
	else echo "skipped: the ops beside plain TensorFlow, which is not installed"; fi

clean:
	rm -rf build dist demo-output python/*.egg-info
