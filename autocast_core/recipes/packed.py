"""A recipe as one short text, for the parameters of a run, whose values may have a few thousand characters."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from typing import Any

from autocast_core.errors import PlanError
from autocast_core.recipes.recipe import MOST_BYTES

_MARK = " zlib:"


def packed(recipe: Mapping[str, Any]) -> str:
    """The recipe's name and its compressed content."""
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"))
    return f"{recipe.get('name')}{_MARK}{base64.b85encode(zlib.compress(text.encode(), 9)).decode()}"


def unpacked(text: str) -> dict[str, Any] | None:
    """What `packed` made of a recipe; None where `text` is none of its. PlanError where it is damaged."""
    _, mark, content = text.partition(_MARK)
    if not mark:
        return None
    try:
        reader = zlib.decompressobj()
        plain = reader.decompress(base64.b85decode(content), MOST_BYTES)
        if reader.unconsumed_tail or not reader.eof:
            raise PlanError("the recipe is cut off, or larger than a recipe may be: fetch its file again")
        return dict(json.loads(plain))
    except (ValueError, TypeError, zlib.error, binascii.Error, RecursionError) as error:
        raise PlanError(f"the recipe cannot be unpacked: {error}: fetch its file again") from error
