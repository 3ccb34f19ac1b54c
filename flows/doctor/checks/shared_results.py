"""Where runs keep their results: on this machine, or on S3 for all machines."""

from __future__ import annotations

from autocast_core.errors import AutocastError
from flows.doctor.check_result import Results, Surroundings, problem, problem_of, warning, well
from flows.doctor.checks.object_store import bucket
from flows.doctor.checks.prefect_server import URL, asked_server
from flows.doctor.http_server import is_http
from tasks.settings import RESULT_BLOCK, RESULT_BLOCK_VARIABLE

_NAME = "result storage"
_LOCATION = "AUTOCAST_RESULT_STORAGE"
_SERIALIZER = "PREFECT_RESULTS_DEFAULT_SERIALIZER"


def result_storage(around: Surroundings) -> Results:
    """Whether Prefect's server knows where results go, that place can be listed, and what lies there runs no code."""
    known = around.environment
    block, url = known.get(RESULT_BLOCK_VARIABLE), known.get(URL, "")
    if not block:
        if not known.get(_LOCATION):
            return (well(_NAME, f"{RESULT_BLOCK_VARIABLE} is not set: results stay on the machine that made them"),)
        remedy = f"set {RESULT_BLOCK_VARIABLE}={RESULT_BLOCK} for workers"
        return (problem(_NAME, f"{_LOCATION} is set, and runs do not use it", remedy),)
    if block != RESULT_BLOCK:
        return (well(_NAME, f"the block {block}, which is not AutoCast Flow's"),)
    if known.get(_SERIALIZER) != "json":
        what = "results are pickled: whoever may write there can have workers run code"
        return (problem(_NAME, what, f"set {_SERIALIZER}=json"),)
    if not is_http(url):
        return (problem(_NAME, f"the block {block} cannot be asked for", f"set {URL} to the server that has it"),)
    kind, _, name = block.partition("/")
    unasked = warning(_NAME, f"the block {block} could not be asked for", "see Prefect")
    try:
        answer = asked_server(around, url).ask("GET", f"block_types/slug/{kind}/block_documents/name/{name}")
        if answer.status == 404:
            remedy = "run autocast results s3://BUCKET/PREFIX/"
            return (problem(_NAME, f"the Prefect server has no block {block}", remedy),)
        told = answer.json
        location = told.get("data", {}).get("location") if isinstance(told, dict) else None
        if answer.status != 200 or not isinstance(location, str):
            return (unasked,)
    except AutocastError:
        return (unasked,)
    try:
        return (bucket(_NAME, location, around.timeout),)
    except AutocastError as error:
        return (problem_of(_NAME, error),)
