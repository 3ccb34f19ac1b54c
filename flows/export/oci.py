"""An OCI image layout on disk that holds files as an artifact, a layer each, named by the title annotation.

https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md and manifest.md there, "Guidelines for Artifact
Usage". `skopeo copy oci:FOLDER:TAG docker://REGISTRY/NAME` or `oras` pushes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autocast_core.file_digest import file_digest

ARTIFACT = "application/vnd.autocast-flow.model.v1"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_EMPTY = "application/vnd.oci.empty.v1+json"
_FILE = "application/octet-stream"


def write_layout(folder: Path, files: Mapping[str, Path], tag: str, annotations: Mapping[str, str]) -> str:
    """Writes the layout into the folder, which is empty, and returns the manifest's digest.

    `files`, by the names that they get, are moved there, so they must be on the same file system.
    """
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    config = {"mediaType": _EMPTY, **_put(blobs, b"{}")}
    layers = [{"mediaType": _FILE, **_move(blobs, path), "annotations": _title(name)} for name, path in files.items()]
    manifest = _put(
        blobs,
        _json(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "artifactType": ARTIFACT,
                "config": config,
                "layers": layers,
                "annotations": dict(annotations),
            }
        ),
    )
    entry = {"mediaType": _MANIFEST, **manifest, "annotations": {"org.opencontainers.image.ref.name": tag}}
    (folder / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    return str(manifest["digest"])


def _title(name: str) -> dict[str, str]:
    return {"org.opencontainers.image.title": name}


def _put(blobs: Path, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def _move(blobs: Path, file: Path) -> dict[str, Any]:
    digest, size = file_digest(file), file.stat().st_size
    file.replace(blobs / digest)
    return {"digest": f"sha256:{digest}", "size": size}


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
