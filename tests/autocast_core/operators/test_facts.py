"""The file facts.json: what it names exists, so that a misspelt name is not ignored."""

from __future__ import annotations

from dataclasses import fields

import onnx
import pytest

from autocast_core.operators.facts import Facts, operator_facts, read_facts

FACTS = operator_facts()
ATTRIBUTES = {
    schema.name: set(schema.attributes) for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""
}
"""Every operator of ONNX's default domain, with its attributes."""


@pytest.mark.parametrize("section", ["never_low", "pinned_inputs", "output_types", "fp32_attribute"])
def test_the_keys_of_a_section_are_operators_of_the_default_domain(section):
    assert set(getattr(FACTS, section)) - set(ATTRIBUTES) == set()


def test_the_sections_of_the_file_are_those_that_are_read():
    attributes = {"output_type_attributes", "computation_type_attributes"}
    assert set(read_facts()) == {"_", "type_attributes"} | {field.name for field in fields(Facts)} - attributes


def test_an_attribute_that_states_a_type_is_one_of_its_operator():
    stated = {op_type: each.attribute for op_type, each in FACTS.output_types.items()} | dict(FACTS.fp32_attribute)
    assert {op_type for op_type, attribute in stated.items() if attribute not in ATTRIBUTES[op_type]} == set()


def test_a_fact_about_legality_has_a_reason():
    assert all(FACTS.never_low.values())
    assert all(FACTS.never_low_domains.values())
