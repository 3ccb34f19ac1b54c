import json

import pytest

from autocast_core.errors import ConfigError, ServiceError
from flows.request.registry_tags import ConversionRequest, Skipped, VersionTags, read_spec_file, request_for
from flows.request.spec import Spec
from flows.request.tag_policy import LOOSENING, NOT_BY_TAG, TagPolicy

ALLOWED = TagPolicy(locations=("s3://data/", "s3://specs/"))


def asked(own, of_model=None, read=read_spec_file, policy=ALLOWED):
    return request_for(VersionTags("resnet", "3", own, of_model or {}), read, policy)


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
    ("spec", "said"),
    [
        ("{", "tag autocast.spec is not a valid JSON object"),
        ("[1]", "option spec is '[1]': tags may name s3:// locations only"),
        ('{"data_mx": 1}', "there is no option 'data_mx'; did you mean 'data_max'?"),
        ("/etc/passwd", "option spec is '/etc/passwd': tags may name s3:// locations only"),
        ("file:///etc/passwd", "option spec is 'file:///etc/passwd': tags may name s3:// locations only"),
        ("gopher://x/y", "location 'gopher://x/y': scheme gopher:// is not supported"),
        ('{"a":' * 1600, "tag autocast.spec is not a valid JSON object"),
    ],
    ids=range(7),
)
def test_a_spec_that_cannot_be_used_is_a_reason_to_skip(spec, said):
    found = asked({"autocast.precision": "fp16", "autocast.spec": spec})
    assert isinstance(found, Skipped)
    assert said in found.reason


def test_a_server_that_does_not_answer_is_no_reason_to_skip():
    def read(_):
        raise ServiceError("S3 does not answer")

    with pytest.raises(ServiceError):
        asked({"autocast.precision": "fp16", "autocast.spec": "s3://specs/a.yaml"}, read=read)


def test_our_own_outputs_ask_for_nothing_even_where_their_model_opts_in():
    tags = {"autocast.precision": "fp16", "autocast.source_sha256": "00"}
    assert asked(tags, {"autocast.precision": "fp16"}) == Skipped("models:/resnet/3 is an output of a conversion")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("calibration", "/etc/passwd"),
        ("evaluation", "file:///proc/self/environ"),
        ("evaluation", "../secrets.npz"),
        ("output", "/usr/local/lib/python3/site-packages/"),
        ("trt_plugins", ["/tmp/evil.so"]),
        ("custom_op_libraries", ["/tmp/evil.so"]),
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
    harmless = {"name", "recipe"}  # one names the source's file; a recipe's file is read for commands alone
    assert reaching <= NOT_BY_TAG | by_location | harmless


def by_spec(policy=ALLOWED, **options):
    return asked({"autocast.precision": "fp16", "autocast.spec": json.dumps(options)}, policy=policy)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"output": "s3://another-bucket/prod/model.onnx"}, "AUTOCAST_TAG_LOCATIONS"),
        ({"calibration": "s3://secret-bucket/x.npz"}, "AUTOCAST_TAG_LOCATIONS"),
        ({"evaluation": "s3://data-of-others/x.npz"}, "AUTOCAST_TAG_LOCATIONS"),
        ({"name": "production-champion"}, "AUTOCAST_TAG_NAMES"),
        ({"name": "resnet"}, "AUTOCAST_TAG_NAMES"),
        ({"allow_random": True}, "AUTOCAST_TAG_OPTIONS"),
        ({"allow_nonfinite": True}, "AUTOCAST_TAG_OPTIONS"),
        ({"validation": "off"}, "AUTOCAST_TAG_OPTIONS"),
        ({"validation": False}, "AUTOCAST_TAG_OPTIONS"),
        ({"class_outputs": ["boxes"]}, "AUTOCAST_TAG_OPTIONS"),
        ({"keep_default_gates": False}, "cannot be set by tags"),
    ],
    ids=str,
)
def test_what_is_not_the_taggers_to_choose_is_skipped_with_the_setting_that_allows_it(options, reason):
    answer = by_spec(**options)
    assert isinstance(answer, Skipped)
    assert reason in answer.reason


def test_a_spec_outside_the_allowed_locations_is_not_fetched():
    def read(location):
        raise AssertionError(f"{location} was fetched")

    answer = asked({"autocast.precision": "fp16", "autocast.spec": "s3://elsewhere/a.yaml"}, read=read)
    assert "AUTOCAST_TAG_LOCATIONS" in answer.reason


def test_a_longer_tag_than_any_spec_is_not_parsed():
    answer = asked({"autocast.precision": "fp16", "autocast.spec": "{" + " " * 20_000 + "}"})
    assert "give at most 20,000" in answer.reason


@pytest.mark.parametrize(
    "options",
    [
        {"output": "s3://data/out/"},
        {"name": "resnet-fast"},
        {"validation": "required"},
        {"allow_random": False},
    ],
    ids=str,
)
def test_what_asks_for_more_or_stays_in_its_place_is_the_taggers_to_choose(options):
    assert by_spec(**options).spec == {**options, "precision": "fp16"}


def test_the_operator_may_allow_more():
    policy = TagPolicy.from_environment(
        {"AUTOCAST_TAG_NAMES": "team-* edge-?", "AUTOCAST_TAG_OPTIONS": "allow_random validation"}
    )
    assert isinstance(by_spec(policy, name="team-a", allow_random=True, validation="off"), ConversionRequest)
    assert isinstance(by_spec(policy, name="edge-22"), Skipped)


def test_gates_of_tags_hold_beside_the_default_ones():
    assert by_spec(gates=["rel_l2<=inf"]).spec["keep_default_gates"] is True
    assert "keep_default_gates" not in by_spec(seed=1).spec


@pytest.mark.parametrize(
    ("variable", "value"),
    [("AUTOCAST_TAG_LOCATIONS", "s3://data"), ("AUTOCAST_TAG_LOCATIONS", "/data/"), ("AUTOCAST_TAG_OPTIONS", "metric")],
)
def test_a_setting_that_is_no_prefix_or_option_is_named(variable, value):
    with pytest.raises(ConfigError, match=variable):
        TagPolicy.from_environment({variable: value})


def test_options_that_loosen_what_is_asked_exist():
    assert set(Spec.model_fields) >= {*LOOSENING, *NOT_BY_TAG}
