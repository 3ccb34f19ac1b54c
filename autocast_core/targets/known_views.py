"""What engines were made of, kept from run to run, so that the same engine is not built again to be looked at.

An entry holds the view alone, as JSON, never the engine. Its name is a digest of all that the kernels follow from: the
converted graph with its types and small constants (of large ones type and shape), how the engine is built, the versions
of TensorRT and of what reads its log, and the GPU. An entry that cannot be read is built anew, one that cannot be
written is left out. Engines with plugins or a timing cache follow from files, too, and are always built.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import msgspec
import onnx_ir as ir

from autocast_core.backends.cuda_driver import first_device
from autocast_core.backends.tensorrt.child import PACKAGES
from autocast_core.engine.options import EngineOptions
from autocast_core.engine.view import EngineView
from autocast_core.model.atomic import replacing
from autocast_core.model.protobuf.serde import serialize_undeclared
from autocast_core.model.protobuf.skeleton import LARGE_BYTES
from autocast_core.process.cache_folder import default_cache_folder
from autocast_core.version import VERSION

LOG = logging.getLogger(__name__)
_FOLDER = "engine_views"
"""The folder of entries, in the cache folder."""
_MOST = 500
"""Entries that are kept, those that were used last; some 100 KB each for a transformer of 12 layers."""
_FORM = 1
"""Raised where views are read otherwise from the same log, or written otherwise."""


def known_view(model: ir.Model, options: EngineOptions, build: Callable[[], EngineView | None]) -> EngineView | None:
    """The view of the engine of the converted `model`: as it is kept, else as `build` makes it, which is kept then."""
    if options.plugins or options.timing_cache is not None:
        return build()
    path = default_cache_folder().absolute() / _FOLDER / f"{_key(model, options)}.json"
    found = _read(path)
    if found is None:
        found = build()
        if found is not None:
            _write(path, found)
    return found


def _key(model: ir.Model, options: EngineOptions) -> str:
    versions = {}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    graph = serialize_undeclared(model, LARGE_BYTES).SerializeToString(deterministic=True)
    profiles = {name: asdict(each) for name, each in options.profiles.items()}
    parts = [_FORM, VERSION, versions, first_device(), profiles, options.workspace_bytes]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode() + graph).hexdigest()


def _read(path: Path) -> EngineView | None:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=EngineView)
        os.utime(path)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        LOG.info("%s: the engine is built anew: %s", path, error)
        return None
    return found


def _write(path: Path, view: EngineView) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as (file,):
            file.write(msgspec.json.encode(view))
        entries = sorted(path.parent.glob("*.json"), key=lambda each: each.stat().st_mtime)
        for entry in entries[:-_MOST]:
            entry.unlink(missing_ok=True)
    except OSError as error:
        LOG.info("%s: what the engine is made of is not kept: %s", path, error)
