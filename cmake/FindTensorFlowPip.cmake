# Finds the TensorFlow package of a Python environment without importing it: an import takes seconds and can fail for reasons that do not
# matter to a build.
#
# Input:  Python_EXECUTABLE, TensorFlowPip_MINOR (the minor version to accept).
# Output: TensorFlowPip_FOUND, TensorFlowPip_VERSION, target TensorFlowPip::TensorFlow.

execute_process(
  COMMAND ${Python_EXECUTABLE} -c "import importlib.util, pathlib
spec = importlib.util.find_spec('tensorflow')
print(pathlib.Path(spec.origin).parent if spec and spec.origin else '')"
  OUTPUT_VARIABLE TensorFlowPip_ROOT
  OUTPUT_STRIP_TRAILING_WHITESPACE)
execute_process(
  COMMAND ${Python_EXECUTABLE} -c "import importlib.metadata as metadata
for name in ('tensorflow', 'tensorflow-cpu', 'tensorflow-gpu', 'tf-nightly', 'tf-nightly-cpu'):
    try:
        print(metadata.version(name))
        break
    except metadata.PackageNotFoundError:
        pass"
  OUTPUT_VARIABLE TensorFlowPip_VERSION
  OUTPUT_STRIP_TRAILING_WHITESPACE)

if(TensorFlowPip_VERSION AND NOT TensorFlowPip_VERSION MATCHES "^${TensorFlowPip_MINOR}\\.")
  message(FATAL_ERROR
    "detloss: expected TensorFlow ${TensorFlowPip_MINOR}, found ${TensorFlowPip_VERSION}. "
    "Run: pip install \"tensorflow~=${TensorFlowPip_MINOR}.0\"")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TensorFlowPip
  REQUIRED_VARS TensorFlowPip_ROOT TensorFlowPip_VERSION
  VERSION_VAR TensorFlowPip_VERSION
  FAIL_MESSAGE "detloss: no TensorFlow package for ${Python_EXECUTABLE}. Run: pip install \"tensorflow~=${TensorFlowPip_MINOR}.0\"")

if(TensorFlowPip_FOUND AND NOT TARGET TensorFlowPip::TensorFlow)
  add_library(TensorFlowPip::TensorFlow INTERFACE IMPORTED)
  set(_include ${TensorFlowPip_ROOT}/include)
  set_target_properties(TensorFlowPip::TensorFlow PROPERTIES
    # The last two are where XLA's headers expect to find what they include.
    INTERFACE_INCLUDE_DIRECTORIES
      "${_include};${_include}/external/highwayhash;${_include}/external/farmhash_archive/src"
    # Eigen's alignment is part of TensorFlow's ABI.
    INTERFACE_COMPILE_DEFINITIONS "_GLIBCXX_USE_CXX11_ABI=1;EIGEN_MAX_ALIGN_BYTES=64"
    INTERFACE_LINK_DIRECTORIES "${TensorFlowPip_ROOT}"
    INTERFACE_LINK_LIBRARIES "-l:libtensorflow_framework.so.2;-l:libtensorflow_cc.so.2")
endif()
