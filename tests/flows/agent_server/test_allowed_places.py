"""What an agent may name: nothing outside of what its user allowed, links followed."""

import pytest

from autocast_core.errors import ConfigError
from flows.agent_server.allowed_places import allowed_places


@pytest.fixture
def places(tmp_path):
    """A root with a model and a link that leads out of it; one prefix of a bucket."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "m.onnx").write_bytes(b"")
    (tmp_path / "secret.onnx").write_bytes(b"")
    (root / "link.onnx").symlink_to(tmp_path / "secret.onnx")
    return allowed_places((root,), ("s3://models/onnx/",))


def test_a_relative_path_is_taken_from_the_first_root_and_made_absolute(places):
    assert places.readable("m.onnx") == str(places.roots[0] / "m.onnx")
    assert places.readable("new/sub/../m.onnx") == str(places.roots[0] / "new" / "m.onnx")


def test_a_name_that_looks_like_an_option_is_a_path(places):
    assert places.readable("--help") == str(places.roots[0] / "--help")


@pytest.mark.parametrize(
    "location", ["../secret.onnx", "/etc/passwd", "file:///etc/passwd", "link.onnx", "~/m.onnx", "m.onnx/../../x"]
)
def test_a_path_outside_of_the_roots_is_refused_with_the_option_that_allows_it(places, location):
    with pytest.raises(ConfigError, match="start the server with --root"):
        places.readable(location)


@pytest.mark.parametrize("location", ["s3://models/other/m.onnx", "s3://else/onnx/m.onnx", "s3://models/onnx"])
def test_an_object_outside_of_the_prefixes_is_refused_with_the_option_that_allows_it(places, location):
    with pytest.raises(ConfigError, match="start the server with --location"):
        places.readable(location)


def test_objects_below_a_prefix_and_registered_versions_may_be_read(places):
    assert places.readable("s3://models/onnx/m.onnx") == "s3://models/onnx/m.onnx"
    assert places.readable("models:/m/1") == "models:/m/1"


def test_nothing_is_written_to_a_registered_version(places):
    with pytest.raises(ConfigError, match="an output is a file, a folder or"):
        places.writable("models:/m/1")


@pytest.mark.parametrize(
    ("roots", "prefixes", "said"),
    [
        (("none",), (), "there is no such folder"),
        ((".",), ("s3://models/k",), "with a slash"),
        ((".",), ("/tmp/",), "s3://"),
    ],
)
def test_options_that_cannot_be_used_are_refused(tmp_path, roots, prefixes, said):
    with pytest.raises(ConfigError, match=said):
        allowed_places(tuple(tmp_path / root for root in roots), prefixes)
