"""What a worker needs to know of a job, and how it gets the model and its part of the data itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from autocast_core.config import ConversionConfig
from autocast_core.errors import DataError, InputError
from autocast_core.model.reference import ModelRef
from tasks.isolation import ProcessLimits, is_isolated, isolation
from tasks.storage.cache_limit import cache_in_use, limit_from_environment
from tasks.storage.data import FetchedData, fetch_data, fetch_files
from tasks.storage.local import digest_of
from tasks.storage.models import Fetched, fetch_model
from tasks.storage.uri import LocalLocation, parse_uri, shared_location


@dataclass(frozen=True)
class ShardInputs:
    """The pinned model (its location, and the digest that it must have), the data (its location, and the digest over
    all of its files), and how both are read.

    With `isolated` they are read in a process of their own, whose limits are the worker's settings.
    """

    model: str
    model_digest: str
    data: str
    data_digest: str
    config: ConversionConfig
    allow_nonfinite: bool = True
    isolated: bool = False


def shard_inputs(
    source: Fetched, uri: str | None, data: FetchedData | None, config: ConversionConfig, allow_nonfinite: bool
) -> ShardInputs | None:
    """What workers read for a job of the fetched `source` and of `data`, which was fetched from `uri`; None without."""
    if uri is None or data is None:
        return None
    pinned, location = (source.uri_pinned, source.ref.digest), shared_location(uri)
    return ShardInputs(*pinned, location, data.digest, config, allow_nonfinite, is_isolated())


@contextmanager
def fetched_model(inputs: ShardInputs) -> Iterator[ModelRef]:
    """The model on this worker; within the block, files are read as the job asks, and stay in the worker's cache.

    InputError where it is another model.
    """
    with _cache_in_use(inputs), isolation(ProcessLimits.from_environment() if inputs.isolated else None):
        found = fetch_model(inputs.model).ref
        if found.digest != inputs.model_digest:
            raise InputError(
                f"model {inputs.model}: a worker reads another file (sha256 {found.digest[:16]}… instead of"
                f" {inputs.model_digest[:16]}…): give every worker the same one, for example by S3"
            )
        yield found


def _cache_in_use(inputs: ShardInputs) -> AbstractContextManager[None]:
    """Keeps the worker's cache below its limit, where something is fetched into it."""
    if all(isinstance(parse_uri(each), LocalLocation) for each in (inputs.model, inputs.data)):
        return nullcontext()
    return cache_in_use(None, limit_from_environment())


def fetched_data(inputs: ShardInputs, names: tuple[str, ...]) -> tuple[Path, ...]:
    """The data's files called `names`, on this worker."""
    return fetch_files(inputs.data, names)


def checked_data(inputs: ShardInputs) -> Path:
    """All of the data on this worker, its digest checked; raises as `check_data`."""
    found = fetch_data(inputs.data)
    if found.digest != inputs.data_digest:
        raise _other_data(inputs)
    return found.path


def check_data(inputs: ShardInputs, digests: Mapping[str, str]) -> None:
    """DataError where what the workers have read (sha256 by file name) is not the data that was pinned."""
    if digest_of(digests) != inputs.data_digest:
        raise _other_data(inputs)


def _other_data(inputs: ShardInputs) -> DataError:
    return DataError(
        f"data {inputs.data}: workers have read other files than this process, or they were changed meanwhile: give"
        " every worker the same ones, and run again"
    )
