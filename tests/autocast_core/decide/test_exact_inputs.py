"""Which graph inputs keep their type since some reader must not have them rounded."""

import pytest

RANGES = {"x": (290.0, 296.0), "d": (-3.0, 3.0), "a": (290.0, 296.0)}


def text(other: str) -> str:
    return f"""g (float[4] x) => (float[4] d, float[4] a) <float zero = {{293.15}}> {{
      [subtract] d = Sub(x, zero) [other] a = {other} }}"""


@pytest.mark.parametrize(
    ("other", "options", "kept"),
    [
        ("Abs(x)", {}, ("x",)),
        ("Abs(d)", {}, False),
        ("Abs(x)", {"nodes_to_exclude": ("other",)}, False),
        ("Abs(x)", {"nodes_to_include": ("subtract",)}, False),
        ("Abs(x)", {"keep_io_types": True}, True),
        ("Abs(x)", {"keep_io_types": ("a",)}, ("a", "x")),
    ],
)
def test_an_input_is_kept_for_a_reader_that_needs_it_beside_a_low_one(plan, other, options, kept):
    found = plan(text(other), RANGES | {"a": (0.0, 296.0)}, data_max=1e4, **options)
    assert found.settings.keep_io_types == kept


def test_an_input_beside_a_node_that_the_user_excludes_is_not_kept(plan):
    found = plan(text("Abs(x)"), dict.fromkeys("xda", (-1.0, 1.0)), nodes_to_exclude=("subtract",))
    assert found.settings.keep_io_types is False
