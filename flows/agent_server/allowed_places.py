"""Which files, objects and versions an agent may name. Its user says so when the server starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autocast_core.errors import ConfigError
from tasks.storage.uri import LocalLocation, S3Location, parse_uri


@dataclass(frozen=True)
class AllowedPlaces:
    """`roots` are folders of this machine, resolved; relative paths are taken from the first. `prefixes` are ``s3://``
    locations. Registered versions may always be named: the tracking server says who may read them."""

    roots: tuple[Path, ...]
    prefixes: tuple[S3Location, ...] = ()

    def readable(self, location: str) -> str:
        """`location`, made absolute, with links followed. ConfigError where it is outside of what is allowed."""
        place = parse_uri(location)
        if isinstance(place, LocalLocation):
            return str(self._inside(place.path))
        if isinstance(place, S3Location) and not any(_is_below(place, prefix) for prefix in self.prefixes):
            raise ConfigError(f"{place} is not allowed: start the server with --location s3://BUCKET/PREFIX/")
        return str(place)

    def writable(self, location: str) -> str:
        """As `readable`, for what is written: no registered version is."""
        if location.startswith("models:"):
            raise ConfigError(f"{location}: an output is a file, a folder or an s3:// prefix")
        return self.readable(location)

    def _inside(self, path: Path) -> Path:
        whole = (self.roots[0] / path).resolve()
        if not any(whole.is_relative_to(root) for root in self.roots):
            raise ConfigError(f"{path} is not allowed: start the server with --root FOLDER for a folder that holds it")
        return whole


def allowed_places(roots: tuple[Path, ...], prefixes: tuple[str, ...]) -> AllowedPlaces:
    """ConfigError where a root is not a folder, or a prefix is not one of S3."""
    for root in roots:
        if not root.is_dir():
            raise ConfigError(f"--root {root}: there is no such folder")
    places = []
    for prefix in prefixes:
        place = parse_uri(prefix)
        if not isinstance(place, S3Location) or not place.is_prefix:
            raise ConfigError(f"--location {prefix}: give s3://BUCKET/PREFIX/, with a slash at its end")
        places.append(place)
    return AllowedPlaces(tuple(root.resolve() for root in roots), tuple(places))


def _is_below(place: S3Location, prefix: S3Location) -> bool:
    return place.bucket == prefix.bucket and place.key.startswith(prefix.key)
