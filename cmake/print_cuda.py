"""Says whether the installed package has CUDA kernels, so that a log shows what was tested."""

from __future__ import annotations

from detloss import _core


def main() -> None:
    """Prints one line."""
    build = _core.build_info()
    if build["cuda"]:
        print(f"CUDA kernels: CUDA {build['cuda_version']}, for {', '.join(build['cuda_architectures'])}")
    else:
        print("CUDA kernels: LEFT OUT of this build (no nvcc was found, or DETLOSS_CUDA=OFF); their tests are skipped")


if __name__ == "__main__":
    main()
