"""Python and the packages that this project requires, in the versions that it requires."""

from __future__ import annotations

import platform
from importlib import metadata

from flows.doctor.check_result import CheckResult, Results, Surroundings, problem, warning, well
from tasks.tracking.package_versions import clash, installed

PROJECT = "autocast-flow"
_PYTHON, _PACKAGES = "Python", "packages"


def python(_: Surroundings) -> Results:
    """Whether this Python is one that the project supports."""
    from packaging.specifiers import SpecifierSet

    found = platform.python_version()
    try:
        required = metadata.metadata(PROJECT)["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        required = ""
    if not SpecifierSet(required).contains(found, prereleases=True):
        return (problem(_PYTHON, f"{found}, of {required}", f"make the environment anew with a Python {required}"),)
    return (well(_PYTHON, found),)


def packages(_: Surroundings) -> Results:
    """Whether what is required is there, optional packages where they are installed, and none overwrites another."""
    try:
        required = metadata.requires(PROJECT) or []
    except metadata.PackageNotFoundError:
        return (warning(_PACKAGES, f"{PROJECT} is not installed as a package", "install it with uv sync or pip"),)
    wrong = [result for text in required if (result := _unmet(text)) is not None]
    if text := clash():
        what, _colon, remedy = text.partition(": ")
        wrong.append(problem(_PACKAGES, what, remedy))
    shown = installed(PROJECT, "onnx", "onnxruntime", "onnxruntime-gpu", "prefect", "mlflow")
    return tuple(wrong) or (well(_PACKAGES, ", ".join(f"{name} {version}" for name, version in shown.items())),)


def _unmet(text: str) -> CheckResult | None:
    """What is wrong with one requirement, as packages declare them."""
    from packaging.requirements import Requirement

    wanted = Requirement(text)
    optional = wanted.marker is not None and not wanted.marker.evaluate({"extra": ""})
    found = installed(wanted.name).get(wanted.name)
    if found is None and optional:
        return None
    remedy = f"pip install '{wanted.name}{wanted.specifier}'"
    if found is None:
        return problem(_PACKAGES, f"{wanted.name} is missing", remedy)
    if not wanted.specifier.contains(found, prereleases=True):
        return problem(_PACKAGES, f"{wanted.name} {found} is installed, {wanted.specifier} is required", remedy)
    return None
