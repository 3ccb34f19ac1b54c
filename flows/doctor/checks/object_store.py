"""S3: the endpoint, the credentials, and the buckets that are named."""

from __future__ import annotations

from autocast_core.errors import AutocastError, InputError, ServiceError
from flows.conversion.gpu_pool_settings import STAGING
from flows.doctor.check_result import CheckResult, Results, Surroundings, problem, problem_of, well
from flows.doctor.http_server import HttpServer, is_http
from flows.request.tag_policy import TAG_LOCATIONS
from tasks.storage.uri import S3Location, parse_uri, without_credentials

_NAME = "S3"
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def object_store(around: Surroundings) -> Results:
    """Whether each bucket that an option or a setting names can be listed; where none is, that the endpoint answers."""
    named = [*around.buckets, *around.environment.get(TAG_LOCATIONS, "").split()]
    staging = around.environment.get(STAGING, "")
    named += [staging] if staging.startswith("s3://") else []
    if not named:
        return (_endpoint(around),)
    results: list[CheckResult] = []
    for text in dict.fromkeys(named):
        try:
            results.append(bucket(_NAME, text, around.timeout))
        except ServiceError as error:
            # The other buckets are behind the same address.
            return (*results, problem_of(_NAME, error))
    return tuple(results)


def bucket(name: str, text: str, timeout: float) -> CheckResult:
    """Whether the bucket, or s3:// prefix, can be listed. ServiceError where its server does not answer."""
    from tasks.storage.objects.s3 import S3Options, connect
    from tasks.storage.objects.s3_errors import explained

    try:
        location = parse_uri(text if text.startswith("s3://") else f"s3://{text}/")
        if not isinstance(location, S3Location):
            raise InputError(f"{text} names no bucket; write NAME or s3://NAME/PREFIX/")
        client = connect(S3Options(attempts=1, connect_timeout=timeout, read_timeout=timeout))
        with explained(location, client.meta.endpoint_url):
            client.list_objects_v2(Bucket=location.bucket, Prefix=location.key, MaxKeys=1)
    except ServiceError:
        raise
    except AutocastError as error:
        return problem_of(name, error)
    return well(name, f"{location} at {without_credentials(client.meta.endpoint_url)}")


def _endpoint(around: Surroundings) -> CheckResult:
    variable = next((each for each in _ENDPOINTS if around.environment.get(each)), None)
    if variable is None:
        return well(_NAME, "neither an endpoint nor a bucket is named; --bucket NAME checks one")
    url = around.environment[variable]
    if not is_http(url):
        return problem(_NAME, f"{variable} is not an http(s) address", "write it as http://HOST:PORT")
    certificates = around.environment.get("AWS_CA_BUNDLE")
    try:
        server = HttpServer(url, around.timeout, certificates=certificates)
        status = server.ask("GET", "").status
    except AutocastError as error:
        return problem_of(_NAME, error, f"check {variable}, and that the server runs")
    if status >= 500:
        return problem(_NAME, f"{server} answers {status}", "the server's log says why")
    return well(_NAME, f"{server} answers; --bucket NAME checks credentials and a bucket")
