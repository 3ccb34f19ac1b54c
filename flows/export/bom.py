"""A bill of materials of a converted model: CycloneDX 1.6 with a machine learning model and its data.

https://cyclonedx.org/capabilities/mlbom/
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from autocast_core.report.card import PortRow
from autocast_core.version import VERSION

SPECIFICATION = "1.6"


def bill_of_materials(
    name: str,
    version: str,
    ports: Sequence[PortRow],
    digests: Mapping[str, str],
    materials: Mapping[str, tuple[str, str]],
    metrics: Mapping[str, float],
) -> dict[str, Any]:
    """The document, as plain values. `digests` are sha256 of the model's files by name, `materials` of the source model
    and the data their place and sha256 by what they are."""
    reference = f"{name}@{version}"
    data = [
        {
            "type": "machine-learning-model" if "model" in what else "data",
            "bom-ref": what,
            "name": what,
            "hashes": [{"alg": "SHA-256", "content": digest}],
            "externalReferences": [{"type": "distribution", "url": place}] if place else [],
        }
        for what, (place, digest) in sorted(materials.items())
    ]
    model = {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "name": name,
        "version": version,
        "components": [
            {"type": "file", "name": file, "hashes": [{"alg": "SHA-256", "content": digest}]}
            for file, digest in sorted(digests.items())
        ],
        "modelCard": {
            "modelParameters": {
                "inputs": [{"format": _format(port)} for port in ports if port[0] == "input"],
                "outputs": [{"format": _format(port)} for port in ports if port[0] == "output"],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [
                    {"type": metric, "value": repr(float(value))} for metric, value in sorted(metrics.items())
                ]
            },
        },
    }
    # The same version gives the same document.
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"{reference} {sorted(digests.items())}")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "autocast-flow", "version": VERSION}]},
            "component": model,
        },
        "components": data,
        "dependencies": [{"ref": reference, "dependsOn": [each["bom-ref"] for each in data]}],
    }


def _format(port: PortRow) -> str:
    _, name, kind, shape = port
    return f"{name}: {kind} {shape}"
