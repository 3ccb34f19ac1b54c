"""Versions: what is recorded, and the clash of the two ONNX Runtimes."""

from importlib.metadata import PackageNotFoundError

import tasks.tracking.package_versions


def packages(monkeypatch, *names):
    def version(name):
        if name in names:
            return "1"
        raise PackageNotFoundError(name)

    monkeypatch.setattr(tasks.tracking.package_versions, "version", version)


def test_only_what_is_installed_is_listed(monkeypatch):
    packages(monkeypatch, "onnx", "onnxruntime-gpu")
    assert tasks.tracking.package_versions.versions() == {"onnx": "1", "onnxruntime-gpu": "1"}
    assert tasks.tracking.package_versions.clash() is None


def test_two_onnx_runtimes_are_warned_of(monkeypatch):
    packages(monkeypatch, "onnxruntime", "onnxruntime-gpu")
    assert "overwrite each other" in tasks.tracking.package_versions.clash()
