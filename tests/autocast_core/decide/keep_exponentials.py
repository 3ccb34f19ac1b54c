"""A custom rule of this project's own kind: an object with a name and `check(facts)`."""

from autocast_core.decide import RuleMatch


class KeepExponentials:
    """Keeps every Exp in FP32."""

    name = "no_exponentials"

    def check(self, facts):
        return RuleMatch("it is an Exp") if facts.node.op_type == "Exp" else None
