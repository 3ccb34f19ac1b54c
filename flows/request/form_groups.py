"""The order of a spec's options in forms, and the groups that their titles name.

Prefect's forms show the properties of an object by ``position``. They know no groups but nested objects, which would
change how specs are written; so a group is a word before the option's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Model": ("precision", "calibration", "evaluation", "output", "name"),
        "Gates": (
            "gates",
            "keep_default_gates",
            "metric",
            "judges",
            "class_outputs",
            "validation",
            "allow_random",
            "allow_nonfinite",
            "allow_uncalibrated",
        ),
        "Engine": (
            "target",
            "device",
            "accumulate",
            "profiles",
            "fp32_engine",
            "workspace_bytes",
            "timing_cache",
            "trt_plugins",
            "trt_plugins_precision",
            "custom_op_libraries",
        ),
        "FP32 nodes": (
            "decide",
            "extra_traffic",
            "repair_evaluations",
            "recipe",
            "nodes_to_exclude",
            "op_types_to_exclude",
            "nodes_to_include",
            "op_types_to_include",
            "data_max",
            "headroom",
            "init_max",
            "init_conversion_max_bytes",
            "max_depth_of_reduction",
            "upcast_attention",
        ),
        "Graph": (
            "keep_io_types",
            "lower_all_io",
            "opset",
            "max_ir_version",
            "small_values",
            "clamp_masks",
            "fuse_layer_norm",
            "fuse_rms_norm",
            "repair_ranges",
            "correct_biases",
            "use_standalone_type_inference",
            "strict_source",
        ),
        "Running": ("providers", "batch_size", "shapes", "seed", "segments", "isolation"),
    }
)
"""All options of a spec, by group, in the order of forms."""


def show_in_groups(schema: dict[str, Any]) -> None:
    """Numbers the options of a spec's JSON schema by GROUPS, and puts each one's group into its title."""
    names = ((group, name) for group, members in GROUPS.items() for name in members)
    for position, (group, name) in enumerate(names):
        schema["properties"][name] |= {"position": position, "title": f"{group}: {name.replace('_', ' ')}"}
