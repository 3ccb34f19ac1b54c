"""Which results of tasks a retry takes instead of running the task again."""

from __future__ import annotations

import os
import uuid
from typing import Any

from prefect.cache_policies import DEFAULT, CachePolicy
from prefect.context import TaskRunContext

from autocast_core.model.atomic import write_whole
from tasks.settings import home_folder

_MARK = "results.id"


def _home_mark(_context: TaskRunContext, _arguments: dict[str, Any]) -> str:
    """What tells this home folder from one at the same path of another machine."""
    file = home_folder(os.environ) / _MARK
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, uuid.uuid4().hex.encode())
    return file.read_text(encoding="ascii")


OF_THIS_HOME = DEFAULT + CachePolicy.from_cache_key_fn(_home_mark)
"""For tasks whose results name files of this machine: where results are shared, a retry on another machine runs them
again."""
