"""options.md lists the options of a spec as they are declared."""

import re

from flows.request.spec import Spec
from tests.infra.docs.pages import DOCS

ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", re.MULTILINE)


def shown(value):
    """A default as the page shows it; empty where there is none."""
    if value is None or value in ((), {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(value)}]`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def test_every_option_is_listed_with_its_default_and_its_description():
    listed = {name: (default, meaning) for name, default, meaning in ROW.findall((DOCS / "options.md").read_text())}
    declared = {
        name: (shown(field.get_default(call_default_factory=True)), field.description)
        for name, field in Spec.model_fields.items()
    }
    assert listed == declared
