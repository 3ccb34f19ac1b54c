import json

import pytest

from autocast_core.errors import ServiceError
from flows.request.registry_tags import NOT_BY_TAG, ConversionRequest, Skipped, VersionTags, read_spec_file, request_for
from flows.request.spec import Spec


def asked(own, of_model=None, read=read_spec_file):
    return request_for(VersionTags("resnet", "3", own, of_model or {}), read)


def test_the_versions_tags_win_over_its_models():
    request = asked(
        {"autocast.precision": "bf16"}, {"autocast.precision": "fp16", "autocast.evaluation": "s3://data/val.npz"}
    )
    assert request == ConversionRequest("models:/resnet/3", {"precision": "bf16", "evaluation": "s3://data/val.npz"})


def test_the_spec_tag_holds_json_or_names_a_file():
    tags = {"autocast.precision": "fp16", "autocast.spec": '{"data_max": 100, "precision": "bf16"}'}
    assert asked(tags).spec == {"data_max": 100, "precision": "fp16"}
    named = asked({**tags, "autocast.spec": "s3://specs/a.yaml"}, read=lambda uri: {"seed": len(uri)})
    assert named.spec == {"precision": "fp16", "seed": 17}


@pytest.mark.parametrize(
    "spec",
    ["{", "[1]", '{"data_mx": 1}', "/etc/passwd", "file:///etc/passwd", "gopher://x/y", '{"a":' * 1600],
    ids=range(7),
)
def test_a_spec_that_cannot_be_used_is_a_reason_to_skip(spec):
    assert isinstance(asked({"autocast.precision": "fp16", "autocast.spec": spec}), Skipped)


def test_a_server_that_does_not_answer_is_no_reason_to_skip():
    def read(_):
        raise ServiceError("S3 does not answer")

    with pytest.raises(ServiceError):
        asked({"autocast.precision": "fp16", "autocast.spec": "s3://specs/a.yaml"}, read=read)


def test_our_own_outputs_ask_for_nothing_even_where_their_model_opts_in():
    tags = {"autocast.precision": "fp16", "autocast.source_sha256": "00"}
    assert isinstance(asked(tags, {"autocast.precision": "fp16"}), Skipped)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("calibration", "/etc/passwd"),
        ("evaluation", "file:///proc/self/environ"),
        ("evaluation", "../secrets.npz"),
        ("output", "/usr/local/lib/python3/site-packages/"),
        ("trt_plugins", ["/tmp/evil.so"]),
        ("timing_cache", "/home/autocast/.bashrc"),
        ("isolation", "none"),
    ],
)
def test_tags_do_not_reach_the_workers_own_machine(option, value):
    answer = asked({"autocast.precision": "fp16", "autocast.spec": json.dumps({option: value})})
    assert isinstance(answer, Skipped) and option in answer.reason


def test_every_option_that_is_a_path_is_kept_from_tags():
    words = ("path", "file", "folder", "librar", "module")
    reaching = {
        name for name, field in Spec.model_fields.items() if any(word in (field.description or "") for word in words)
    }
    by_location = {"calibration", "evaluation", "output"}
    harmless = {"name"}  # its description names the source's file
    assert reaching <= NOT_BY_TAG | by_location | harmless
