"""Where models and data lie, and how that is written: a path, file://, s3://, or a version in a model registry."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from autocast_core.errors import ConfigError
from autocast_core.text import visible

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/")
_S3 = re.compile(r"^s3://(?P<bucket>[^/?]*)/?(?P<key>.*?)(?:\?versionId=(?P<version_id>[^&?=]+))?$", re.IGNORECASE)
_QUERY = re.compile(r"\?[A-Za-z]+=")
_BUCKET = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$")
_REGISTRY = re.compile(r"^models:/(?P<name>[^/:@]+)(?:/(?P<version>[0-9]+)|@(?P<alias>[^/:@]+))$")


LONGEST = 4096
"""Characters of a location: what a path may have; S3 allows keys of 1,024 bytes."""
_LONGEST_NAME = 255


@dataclass(frozen=True)
class LocalLocation:
    """A file or folder of this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class S3Location:
    """An object, or a prefix where `key` ends in ``/`` or is empty; `version_id` pins one version of an object."""

    bucket: str
    key: str
    version_id: str | None = None

    def __str__(self) -> str:
        version = f"?versionId={self.version_id}" if self.version_id else ""
        return f"s3://{self.bucket}/{self.key}{version}"

    @property
    def is_prefix(self) -> bool:
        return not self.key or self.key.endswith("/")

    def beside(self, name: str) -> S3Location:
        """The object `name` in the same prefix."""
        return S3Location(self.bucket, self.key.rpartition("/")[0] + "/" + name if "/" in self.key else name)

    def under(self, name: str) -> S3Location:
        """The object `name` below this key, taken as a prefix."""
        prefix = self.key if self.is_prefix else self.key + "/"
        return S3Location(self.bucket, prefix + name)


@dataclass(frozen=True)
class RegistryLocation:
    """A registered model's version; exactly one of `version` and `alias` is given."""

    name: str
    version: str | None = None
    alias: str | None = None

    def __str__(self) -> str:
        return f"models:/{self.name}/{self.version}" if self.version else f"models:/{self.name}@{self.alias}"


Location = LocalLocation | S3Location | RegistryLocation


def shared_location(uri: str) -> str:
    """`uri` as other processes, which have other current folders, understand it."""
    location = parse_uri(uri)
    return str(location.path.absolute()) if isinstance(location, LocalLocation) else uri


def parse_uri(text: str) -> Location:
    """Reads a path, ``file:///PATH``, ``s3://BUCKET/KEY[?versionId=ID]``, ``models:/NAME/VERSION`` or
    ``models:/NAME@ALIAS``.

    An S3 key is taken literally (no percent decoding), as the AWS command line does. ConfigError for anything else.
    """
    if not text.strip() or "\0" in text or not _is_a_name(text):
        raise ConfigError(f"location {text!r} is empty or holds a character that no name has: give a path or URI")
    if len(text) > LONGEST:
        raise ConfigError(f"location {visible(text)!r} is too long: give a path or URI of at most {LONGEST} characters")
    scheme = _SCHEME.match(text)
    match scheme and scheme.group(1).lower():
        case None:
            return LocalLocation(_named(_at_home(text)))
        case "file":
            return _file(text)
        case "s3":
            return _s3(text)
        case "models":
            return _registry(text)
        case other:
            raise ConfigError(
                f"location {text!r}: scheme {other}:// is not supported; give a path, file://, s3:// or models:/ URI"
            )


def without_credentials(url: str) -> str:
    """`url` without the user name and password that it may carry, for messages."""
    return re.sub(r"(?<=://)[^/@]*@", "", url)


def _is_a_name(text: str) -> bool:
    """Whether the system can name a file so: half a surrogate pair cannot be written."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _named(path: Path) -> Path:
    """`path`. ConfigError where one of its names is longer than file systems allow."""
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > _LONGEST_NAME:
        raise ConfigError(f"location {visible(str(path))!r}: a name of {longest} bytes is too long for a file")
    return path


def _at_home(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"location {text!r}: there is no such user: write ./{text} for a name with a tilde"
        ) from error


def _file(text: str) -> LocalLocation:
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ConfigError(f"location {text!r}: {error}; write file:///data/model.onnx") from error
    path = url2pathname(parts.path)
    if parts.netloc not in ("", "localhost") or not path or "\0" in path:
        raise ConfigError(f"location {text!r}: a file URI needs an absolute path, as in file:///data/model.onnx")
    return LocalLocation(_named(Path(path)))


def _s3(text: str) -> S3Location:
    match = _S3.match(text)
    if match is None or not _BUCKET.match(match["bucket"]):
        raise ConfigError(f"location {text!r} names no valid bucket: write s3://BUCKET/KEY")
    if _QUERY.search(match["key"]):
        raise ConfigError(f"location {text!r}: the only query understood is ?versionId=ID at the end")
    location = S3Location(match["bucket"], match["key"], match["version_id"])
    if location.version_id and location.is_prefix:
        raise ConfigError(f"location {text!r}: ?versionId= pins an object, and this is a prefix")
    return location


def _registry(text: str) -> RegistryLocation:
    match = _REGISTRY.match(text)
    if match is None:
        raise ConfigError(f"location {text!r}: write models:/NAME/VERSION (a number) or models:/NAME@ALIAS")
    return RegistryLocation(match["name"], match["version"], match["alias"])
