"""Versions: what is recorded, and the clash of the two ONNX Runtimes."""

from importlib.metadata import PackageNotFoundError

import tasks.versions


def packages(monkeypatch, *names):
    def version(name):
        if name in names:
            return "1"
        raise PackageNotFoundError(name)

    monkeypatch.setattr(tasks.versions, "version", version)


def test_only_what_is_installed_is_listed(monkeypatch):
    packages(monkeypatch, "onnx", "onnxruntime-gpu")
    assert tasks.versions.versions() == {"onnx": "1", "onnxruntime-gpu": "1"}
    assert tasks.versions.clash() is None


def test_two_onnx_runtimes_are_warned_of(monkeypatch):
    packages(monkeypatch, "onnxruntime", "onnxruntime-gpu")
    assert "overwrite each other" in tasks.versions.clash()
