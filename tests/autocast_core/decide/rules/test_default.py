from autocast_core.decide.rules.default import DEFAULT, DefaultRule


def test_it_applies_to_every_node_and_makes_it_low(facts):
    found = facts(precision="bf16")
    assert DefaultRule().check(found).reason == ""
    assert DEFAULT.precision_of(found) == "bf16"
