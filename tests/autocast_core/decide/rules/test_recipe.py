from autocast_core.recipes import Recipe, RecipeDecision

CHAIN = "g (float[2] x) => (float[2] y) { [first] a = Exp(x) [second] b = Neg(a) [third] y = Neg(b) }"


def recipe(**changes):
    decision = {"op_type": "Neg", "precision": "fp32", "reason": "it was measured", "types": ("fp16",)}
    return Recipe("mine", "chains", (RecipeDecision(**{**decision, "reads": ("Exp",), **changes}),))


def decided(plan, node):
    decision = plan.by_id()[f"graph/{node}"]
    return str(decision.precision), decision.rule, decision.reason


def test_a_node_that_a_recipe_keeps_is_kept_with_its_reason(plan):
    found = plan(CHAIN, recipe=recipe())
    assert decided(found, "second") == ("fp32", "recipe", "recipe mine: it was measured")
    assert decided(found, "third")[:2] == ("fp16", "default")


def test_a_node_that_a_recipe_lowers_is_low_over_a_limit_that_a_release_may_override(plan):
    large = {"x": (0, 1), "a": (0, 600), "b": (-600, 0), "y": (0, 600)}
    assert decided(plan(CHAIN, large), "second")[:2] == ("fp32", "io_range")
    assert decided(plan(CHAIN, large, recipe=recipe(precision="low")), "second")[:2] == ("fp16", "recipe_low")


def test_what_may_overflow_stays_fp32_whatever_a_recipe_says(plan):
    larger = {"x": (0, 1), "a": (0, 70000), "b": (-70000, 0), "y": (0, 70000)}
    found = plan(CHAIN, larger, recipe=recipe(precision="low"), headroom=8.0)
    assert decided(found, "second")[:2] == ("fp32", "headroom")


def test_a_decision_for_another_type_is_not_asked(plan):
    assert decided(plan(CHAIN, recipe=recipe(types=("bf16",))), "second")[:2] == ("fp16", "default")
