"""Errors of S3 as AutocastErrors: one line with what, where and the remedy.

Servers' own messages are left out: some repeat access keys, and real servers often send none at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from autocast_core.errors import AutocastError, ConfigError, InputError, ServiceError
from tasks.storage.uri import S3Location, without_credentials


class NoSuchObjectError(InputError):
    """The bucket answers, and holds no object of this key."""


CREDENTIALS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_REFUSED: Mapping[str, str] = {
    "NoSuchBucket": "the bucket does not exist; check its name and AWS_ENDPOINT_URL_S3",
    "NoSuchKey": "the object does not exist; check the key",
    "NoSuchVersion": "this version of the object does not exist; check versionId",
    "404": "the object does not exist; check bucket and key",
    "AccessDenied": "access is denied; check that these credentials may do this",
    "403": f"access is denied; check {CREDENTIALS} and what they may do",
    "InvalidAccessKeyId": f"the access key is unknown; check {CREDENTIALS}",
    "SignatureDoesNotMatch": f"the secret key does not fit the access key; check {CREDENTIALS}",
    "AuthorizationHeaderMalformed": "the request was signed for another region; set AWS_REGION to the bucket's",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION to the bucket's",
    "InvalidToken": "the session token is invalid; renew the credentials",
    # Ceph's word for a session token that it did not give.
    "InvalidArgument": "the server cannot read the request or its session token; check AWS_SESSION_TOKEN",
    "ExpiredToken": "the credentials have expired; renew them and run again: what was transferred is kept",
    "RequestTimeTooSkewed": "this machine's clock differs from the server's; set the clock",
    "InvalidBucketName": "the bucket's name is invalid; check it",
    "MethodNotAllowed": "this version is a deletion marker; give the versionId of an object",
}
_CHANGED = frozenset({"PreconditionFailed", "412", "InvalidRange", "416"})
_BUSY = frozenset({"SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "RequestLimitExceeded", "429"})


@contextmanager
def explained(location: S3Location, endpoint: str) -> Iterator[None]:
    """Raises InputError, ConfigError or ServiceError in place of what boto3 and botocore raise inside the block.

    InputError: a bucket, key, version, permission or credential that a person has to correct. ServiceError: an endpoint
    that does not answer, is overloaded or fails, or an object that changed meanwhile; a later try may succeed.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _refusal(error, location, endpoint) from error
    except (BotoCoreError, Boto3Error) as error:
        raise _failure(error, location, endpoint) from error
    except RecursionError as error:  # botocore follows redirects that lead back to the same address without end
        raise ConfigError(
            f"{location} at {without_credentials(endpoint)}: the server redirects; set AWS_ENDPOINT_URL_S3 to the"
            " address that it leads to, such as https:// instead of http://"
        ) from error


def error_code(error: Any) -> str:
    """The code of a botocore ClientError: S3's own word, or the HTTP status where the response has no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _refusal(error: Any, location: S3Location, endpoint: str) -> AutocastError:
    code, status = error_code(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    where = f"{location} at {without_credentials(endpoint)}"
    if code in _CHANGED:
        return ServiceError(f"{where}: the object changed while it was read; run again, or pin one with ?versionId=ID")
    if code in _BUSY or status >= 500:
        return ServiceError(f"{where}: the server answers {code or status} to {error.operation_name}; try again later")
    if code in ("NoSuchKey", "404"):
        return NoSuchObjectError(f"{where}: {_REFUSED[code]}")
    reason = _REFUSED.get(code, f"the server refuses {error.operation_name} with {code or status}; check the request")
    return InputError(f"{where}: {reason}")


def _failure(error: Exception, location: S3Location, endpoint: str) -> AutocastError:
    from botocore import exceptions as boto

    where = f"{location} at {without_credentials(endpoint)}"
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return InputError(f"{where}: credentials are missing; set {CREDENTIALS}, or AWS_PROFILE")
    if isinstance(error, boto.CredentialRetrievalError | boto.TokenRetrievalError | boto.SSOError):
        return InputError(f"{where}: the credentials could not be read ({type(error).__name__}); renew the login")
    if isinstance(error, boto.ParamValidationError):
        return ConfigError(f"{where}: bucket, key or version is malformed; check the location")
    if isinstance(error, boto.SSLError):
        return ServiceError(f"{where}: the TLS connection fails; check the endpoint's certificate and AWS_CA_BUNDLE")
    if isinstance(error, boto.ConnectionError | boto.HTTPClientError | boto.IncompleteReadError):
        kind = type(error).__name__
        return ServiceError(f"{where}: the server does not answer ({kind}); check AWS_ENDPOINT_URL_S3 and the network")
    return ServiceError(f"{where}: the transfer failed ({type(error).__name__}); try again")
