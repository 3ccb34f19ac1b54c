import logging

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from autocast_core.errors import ConfigError, InputError, ServiceError
from tasks.storage.objects.s3 import S3Options, connect, find, list_names, pin
from tasks.storage.objects.s3_errors import NoSuchObjectError, explained
from tasks.storage.uri import S3Location

SECRETS = ("AKIAPLANTEDKEY", "planted-secret")


def refused(client, code, status):
    with Stubber(client) as stub:
        stub.add_client_error("head_object", str(status), http_status_code=status)
        stub.add_client_error("get_object", code, "AKIAPLANTEDKEY planted-secret", http_status_code=status)
        pin(client, S3Location("bucket", "key"))


def test_a_missing_bucket_is_told_from_a_missing_key(client, bucket):
    with pytest.raises(NoSuchObjectError, match=rf"s3://{bucket}/nope at http://127.*the object does not exist"):
        pin(client, S3Location(bucket, "nope"))
    with pytest.raises(InputError, match=r"s3://no-such-bucket/nope at .*the bucket does not exist"):
        pin(client, S3Location("no-such-bucket", "nope"))
    with pytest.raises(InputError, match="the bucket does not exist"):
        list_names(client, S3Location("no-such-bucket", ""))


def test_a_missing_version_is_named(client, versioned_bucket):
    client.put_object(Bucket=versioned_bucket, Key="key", Body=b"1")
    with pytest.raises(InputError, match=r"versionId=4ed3c1c3"):
        pin(client, S3Location(versioned_bucket, "key", "4ed3c1c3-5d5f-4ae6-ae7e-7f0b7f0d7ad5"))


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("AccessDenied", "may do this"),
        ("InvalidAccessKeyId", "the access key is unknown"),
        ("SignatureDoesNotMatch", "the secret key does not fit"),
        ("ExpiredToken", "have expired"),
        ("RequestTimeTooSkewed", "clock"),
        ("403", "AWS_ACCESS_KEY_ID"),
        ("SomethingNew", "SomethingNew"),
    ],
)
def test_a_refusal_says_what_to_correct_and_no_secret(client, code, remedy):
    with pytest.raises(InputError, match=remedy) as error:
        refused(client, code, 403)
    message = str(error.value)
    assert message.startswith("s3://bucket/key at http://127.0.0.1")
    assert "\n" not in message
    assert not any(secret in message for secret in SECRETS)


@pytest.mark.parametrize(("code", "status"), [("SlowDown", 503), ("InternalError", 500), ("429", 429), ("502", 502)])
def test_an_overloaded_server_is_worth_another_try(client, code, status):
    with pytest.raises(ServiceError, match="try again"):
        refused(client, code, status)


def test_missing_credentials_say_which_variables_to_set(no_aws, s3_endpoint, monkeypatch, options):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    with pytest.raises(InputError, match="AWS_ACCESS_KEY_ID"):
        pin(connect(options), S3Location("bucket", "key"))


def test_half_of_the_credentials_are_missing_ones(no_aws, s3_endpoint, monkeypatch, options):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAPLANTEDKEY")
    with pytest.raises(InputError, match="AWS_SECRET_ACCESS_KEY"):
        pin(connect(options), S3Location("bucket", "key"))


def test_a_profile_that_does_not_exist_is_an_input_error(no_aws, monkeypatch, options):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(InputError, match="AWS_PROFILE"):
        connect(options)


def test_an_endpoint_that_is_no_url_is_a_config_error(no_aws, monkeypatch, options):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "not a url")
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL_S3"):
        connect(options)


def test_an_endpoint_that_does_not_answer_is_a_service_error_without_its_password(no_aws, monkeypatch, options):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://me:planted-secret@127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAPLANTEDKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    with pytest.raises(ServiceError, match=r"http://127\.0\.0\.1:9: the server does not answer") as error:
        pin(connect(options), S3Location("bucket", "key"))
    assert not any(secret in str(error.value) for secret in SECRETS)


def test_a_malformed_key_is_a_config_error(client, bucket):
    with pytest.raises(ConfigError):
        pin(client, S3Location("bad bucket", "key"))


def test_find_gives_none_for_a_missing_object_only(client, bucket):
    client.put_object(Bucket=bucket, Key="there", Body=b"12345")
    found = find(client, S3Location(bucket, "there"))
    assert found is not None and found.size == 5
    assert find(client, S3Location(bucket, "nope")) is None
    with pytest.raises(InputError):
        find(client, S3Location("no-such-bucket", "nope"))


def test_other_endpoints_than_amazons_are_addressed_by_path(no_aws, monkeypatch, options):
    amazon = connect(options)
    assert amazon.meta.region_name == "us-east-1"
    assert amazon.meta.config.s3["addressing_style"] == "auto"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://storage.example:9000")
    assert connect(options).meta.config.s3["addressing_style"] == "path"


def test_attempts_follow_the_environment_unless_given(no_aws, monkeypatch):
    assert S3Options().total_attempts == 8
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    assert S3Options().total_attempts == 2
    assert S3Options(attempts=3).total_attempts == 3
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "many")
    with pytest.raises(ConfigError, match="AWS_MAX_ATTEMPTS"):
        S3Options().total_attempts


def test_other_errors_pass_unchanged():
    with pytest.raises(KeyError), explained(S3Location("b", "k"), "http://host"):
        raise KeyError("mine")


def test_the_cause_is_kept(client, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(InputError) as error:
        refused(client, "AccessDenied", 403)
    assert isinstance(error.value.__cause__, ClientError)


class _Head:
    """A client whose HEAD answers with what a test says."""

    def __init__(self, client, **answer):
        self.meta, self._answer = client.meta, answer

    def head_object(self, **_):
        return self._answer


@pytest.mark.parametrize("answer", [{}, {"ETag": "e"}, {"ContentLength": 1}], ids=str)
def test_a_head_without_etag_or_length_names_the_endpoint(client, answer):
    with pytest.raises(InputError, match=r"s3://b/k at http://127.*no ETag or length.*AWS_ENDPOINT_URL_S3"):
        pin(_Head(client, **answer), S3Location("b", "k"))


def test_a_recorded_checksum_that_is_not_base64_is_one_line(client):
    with pytest.raises(InputError, match=r"s3://b/k: its recorded checksum 'a \?\?' is not base64"):
        pin(_Head(client, ETag="e", ContentLength=1, ChecksumSHA256="a\n??"), S3Location("b", "k"))


def test_a_server_that_redirects_to_itself_is_one_line_with_the_remedy(client):
    def redirected():
        redirected()

    with (
        pytest.raises(ConfigError, match=r"s3://b/k at .*the server redirects; set AWS_ENDPOINT_URL_S3"),
        explained(S3Location("b", "k"), client.meta.endpoint_url),
    ):
        redirected()
