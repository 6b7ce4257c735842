"""The versions that an artifact records."""

from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("numpy", "onnx", "onnxruntime", "apache-tvm", "apache-tvm-ffi", "numba")


def versions() -> dict[str, str]:
    """Installed versions of mcc and of what its results depend on; absent packages are left out."""
    from . import __version__

    found = {"mcc": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
