"""What a request may ask of a service: less than of one's own machine."""

import pytest

from autocast_core.errors import ConfigError
from flows.request.policy import check_file_code, check_metric, check_plugins, check_runner_allowed, limits_for
from flows.request.spec import Spec


@pytest.mark.parametrize(
    ("deployed", "asked", "setting", "isolated"),
    [
        (True, None, None, True),
        (True, "process", None, True),
        (True, None, "none", False),
        (True, "none", "none", False),
        (False, None, None, False),
        (False, "process", None, True),
        (False, None, "process", True),
        (False, "none", "process", False),
    ],
)
def test_deployments_are_isolated_unless_their_owner_says_otherwise(deployed, asked, setting, isolated):
    environment = {"AUTOCAST_ISOLATION": setting} if setting else {}
    limits = limits_for(Spec(isolation=asked), deployed=deployed, environment=environment)
    assert (limits is not None) == isolated


def test_a_request_cannot_switch_isolation_off():
    with pytest.raises(ConfigError, match="the worker's owner can"):
        limits_for(Spec(isolation="none"), deployed=True, environment={})


def test_an_unknown_setting_is_named():
    with pytest.raises(ConfigError, match="AUTOCAST_ISOLATION is 'off'"):
        limits_for(Spec(), deployed=True, environment={"AUTOCAST_ISOLATION": "off"})


def test_isolation_is_no_part_of_a_conversions_identity():
    assert Spec(isolation="process").canonical() == Spec().canonical()


@pytest.mark.parametrize("option", ["trt_plugins", "custom_op_libraries"])
def test_a_service_loads_plugins_only_from_its_owners_folders(tmp_path, option):
    allowed, other = tmp_path / "plugins", tmp_path / "other"
    for folder in (allowed, other):
        folder.mkdir()
        (folder / "a.so").touch()
    (allowed / "link.so").symlink_to(other / "a.so")
    environment = {"AUTOCAST_PLUGIN_FOLDERS": str(allowed)}
    check_plugins(Spec(**{option: (str(allowed / "a.so"),)}), deployed=True, environment=environment)
    for library in (other / "a.so", allowed / ".." / "other" / "a.so", allowed / "link.so", "libevil.so"):
        with pytest.raises(ConfigError, match=f"{option}: .*AUTOCAST_PLUGIN_FOLDERS"):
            check_plugins(Spec(**{option: (str(library),)}), deployed=True, environment=environment)


def test_without_the_setting_a_service_loads_no_plugin_and_ones_own_run_any():
    spec = Spec(trt_plugins=("/opt/a.so",))
    with pytest.raises(ConfigError):
        check_plugins(spec, deployed=True, environment={})
    check_plugins(spec, deployed=False, environment={})


def test_a_service_imports_only_metrics_of_its_owners_modules():
    environment = {"AUTOCAST_METRIC_MODULES": "scores:other"}
    check_metric("scores:f1", deployed=True, environment=environment)
    check_metric("os:getcwd", deployed=False, environment=environment)
    check_metric(None, deployed=True, environment={})
    with pytest.raises(ConfigError, match="can add os to AUTOCAST_METRIC_MODULES"):
        check_metric("os:getcwd", deployed=True, environment=environment)


@pytest.mark.parametrize("option", ["trt_plugins", "custom_op_libraries"])
def test_a_file_alone_has_no_library_loaded(tmp_path, option):
    spec = Spec(**{option: (str(tmp_path / "a.so"),)})
    with pytest.raises(ConfigError, match=rf"spec\.yaml: {option}: .*a\.so runs code of that library"):
        check_file_code("spec.yaml", spec, environment={})
    check_file_code("spec.yaml", spec, environment={"AUTOCAST_PLUGIN_FOLDERS": str(tmp_path)})


def test_the_option_of_the_command_line_is_the_users_word_for_its_own_metric_only():
    check_file_code("spec.yaml", Spec(metric="scores:f1"), "scores:f1", environment={})
    with pytest.raises(ConfigError, match="runs code of the module os"):
        check_file_code("spec.yaml", Spec(metric="os:getcwd"), environment={"AUTOCAST_METRIC_MODULES": "scores"})


def test_a_service_computes_only_on_clusters_that_its_operator_lists():
    environment = {"AUTOCAST_RUNNERS": "dask=tcp://ours:8786, ray=auto"}
    for runner in ("local", "dask=tcp://ours:8786", "ray=auto"):
        check_runner_allowed(runner, deployed=True, environment=environment)
    for runner in ("dask", "dask=tcp://theirs:8786"):
        check_runner_allowed(runner, deployed=False, environment={})
        with pytest.raises(ConfigError, match="the worker can add it to AUTOCAST_RUNNERS"):
            check_runner_allowed(runner, deployed=True, environment=environment)
    with pytest.raises(ConfigError, match="give local, dask"):
        check_runner_allowed("threads", deployed=False)
