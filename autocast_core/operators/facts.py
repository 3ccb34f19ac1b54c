"""The data file facts.json, typed: what the schemas of operators do not say."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any, Literal

import onnx_ir as ir


@dataclass(frozen=True)
class OutputType:
    """An attribute that fixes the element type of `outputs` (indices).

    `default` is the type where the attribute is absent: FP32, or that of the first input. `settable` is false for a
    statement about accumulation: these outputs keep their type.
    """

    attribute: str
    outputs: tuple[int, ...]
    default: Literal["FLOAT", "input"]
    settable: bool


@dataclass(frozen=True)
class Facts:
    """The sections of facts.json; keys are operator types of the default domain, attributes, domains or plugins."""

    families: Mapping[str, frozenset[str]]
    output_type_attributes: frozenset[str]
    computation_type_attributes: frozenset[str]
    output_types: Mapping[str, OutputType]
    pinned_inputs: Mapping[str, tuple[int, ...]]
    size_inputs: Mapping[str, tuple[int, ...]]
    decides_by: Mapping[str, tuple[int, ...]]
    never_low: Mapping[str, str]
    never_low_domains: Mapping[str, str]
    fp32_attribute: Mapping[str, str]
    plugin_outputs: Mapping[str, tuple[ir.DataType, ...]]


@functools.lru_cache(maxsize=1)
def operator_facts() -> Facts:
    """The content of facts.json, read once."""
    raw = read_facts()
    attributes = raw["type_attributes"]
    return Facts(
        families=MappingProxyType({name: frozenset(each["operators"]) for name, each in raw["families"].items()}),
        output_type_attributes=frozenset(attributes["of_outputs"]),
        computation_type_attributes=frozenset(attributes["of_computation"]),
        output_types=MappingProxyType({op_type: _output_type(each) for op_type, each in raw["output_types"].items()}),
        pinned_inputs=_indices(raw["pinned_inputs"]),
        size_inputs=_indices(raw["size_inputs"]),
        decides_by=_indices(raw["decides_by"]),
        never_low=MappingProxyType(raw["never_low"]),
        never_low_domains=MappingProxyType(raw["never_low_domains"]),
        fp32_attribute=MappingProxyType(raw["fp32_attribute"]),
        plugin_outputs=MappingProxyType(
            {op_type: tuple(ir.DataType[name] for name in each) for op_type, each in raw["plugin_outputs"].items()}
        ),
    )


def read_facts() -> dict[str, Any]:
    """facts.json as it stands in the file."""
    text = resources.files("autocast_core.operators").joinpath("facts.json").read_text(encoding="utf-8")
    raw: dict[str, Any] = json.loads(text)
    return raw


def _indices(raw: Mapping[str, list[int]]) -> Mapping[str, tuple[int, ...]]:
    return MappingProxyType({op_type: tuple(each) for op_type, each in raw.items()})


def _output_type(raw: Mapping[str, Any]) -> OutputType:
    return OutputType(raw["attribute"], tuple(raw["outputs"]), raw["default"], raw["settable"])
