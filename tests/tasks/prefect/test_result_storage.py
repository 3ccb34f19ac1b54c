"""Results on S3, and which results a retry takes."""

import asyncio

import pytest

from autocast_core.errors import ConfigError
from tests.tasks.storage.conftest import bucket, client, no_aws, s3_endpoint

__all__ = ["bucket", "client", "no_aws", "s3_endpoint"]


def test_what_was_written_is_read_and_lies_below_the_prefix(client, bucket):
    from tasks.prefect.result_storage import S3Results

    storage = S3Results(location=f"s3://{bucket}/results/")
    storage.write_path("abc", b"content", _sync=True)
    assert (storage.read_path("abc", _sync=True), asyncio.run(storage.aread_path("abc"))) == (b"content", b"content")
    assert client.get_object(Bucket=bucket, Key="results/abc")["Body"].read() == b"content"
    with pytest.raises(ValueError, match="there is no such result"):
        storage.read_path("another")


@pytest.mark.xdist_group("prefect")
def test_results_of_a_flow_and_its_tasks_go_to_the_block_and_are_read_from_it(workplace, client, bucket):
    from prefect import flow, task
    from prefect.settings import PREFECT_DEFAULT_RESULT_STORAGE_BLOCK, temporary_settings

    from tasks.prefect.result_storage import save_result_storage
    from tasks.settings import RESULT_BLOCK

    @task(persist_result=True)
    def make():
        return "made"

    @flow(persist_result=True)
    def ask():
        return make(return_state=True)

    save_result_storage(f"s3://{bucket}/results/")
    with temporary_settings({PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: RESULT_BLOCK}):
        state = ask(return_state=True)
        assert state.name == "Completed"
    stored = client.list_objects_v2(Bucket=bucket, Prefix="results/")["Contents"]
    assert len(stored) == 2
    # Whoever reads it has other settings: the state says where it is.
    assert state.result().result() == "made"


@pytest.mark.parametrize("location", ["s3://models/results", "results/", "models:/resnet/1"])
def test_a_result_storage_is_an_s3_prefix(location):
    from tasks.prefect.result_storage import result_prefix

    with pytest.raises(ConfigError, match="write s3://BUCKET/PREFIX/"):
        result_prefix(location)


@pytest.mark.xdist_group("prefect")
def test_a_result_that_names_files_is_taken_in_the_home_that_has_them_only(workplace):
    from prefect import flow, task

    from tasks.prefect.result_reuse import OF_THIS_HOME

    made = []

    @task(persist_result=True, cache_policy=OF_THIS_HOME)
    def make(name):
        made.append(name)
        return name

    @flow
    def twice():
        make("model")
        make("model")
        # The folder of another machine, at the same path.
        (workplace / ".autocast" / "results.id").unlink()
        make("model")

    twice()
    assert made == ["model", "model"]
