"""What holds for every command: usage errors, help, light start."""

import subprocess
import sys

import pytest

from autocast_core.errors import ServiceError

HEAVY = ("prefect", "mlflow", "onnxruntime", "matplotlib", "boto3", "tensorrt", "onnx_ir", "numpy")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["schema"], ["plan", "--help"]])
def test_help_and_schema_start_without_heavy_packages(arguments):
    program = (
        f"import sys; sys.argv = ['autocast', *{arguments!r}]\n"
        "from flows.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "Missing argument 'model'"),
        (["run", "m.onnx", "--presision", "fp16"], "No such option: --presision"),
        (["rum"], "No such command 'rum'"),
        (["validate", "m.onnx", "--reference", "r.onnx", "--on", "gpu"], "'gpu' is not one of"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(autocast, arguments, message):
    ended = autocast(*arguments)
    assert ended.code == 2
    assert message in ended.err
    assert len(ended.err.splitlines()) == 1
    assert ended.out == ""


@pytest.mark.parametrize("group", [(), ("plan",), ("bridge",)])
def test_commands_of_a_group_are_shown_where_none_is_given(autocast, group):
    ended = autocast(*group)
    assert ended.code == 2
    assert "Commands" in ended.out
    assert ended.err == ""


def test_a_usage_error_is_a_json_object_where_that_was_asked_for(autocast):
    ended = autocast("run", "--json")
    assert (ended.code, ended.json["ok"]) == (2, False)
    assert "Missing argument" in ended.json["error"]


def test_an_unexpected_failure_is_one_line_and_exit_code_1(autocast, monkeypatch, tmp_path):
    def broken(*_):
        raise ZeroDivisionError("a bug\nin this test")

    monkeypatch.setattr("flows.cli.plan.shown", broken)
    ended = autocast("plan", "show", tmp_path / "plan.json", "--json")
    assert ended.code == 1
    assert ended.errors == ["error: ZeroDivisionError: a bug in this test (set AUTOCAST_TRACEBACK=1 to see where)"]
    assert ended.json["ok"] is False


@pytest.mark.parametrize("place", ["flows.cli.app.new_app", "flows.cli.plan.finish"])
def test_an_interrupt_before_a_command_begins_or_after_its_end_does_not_end_as_done(
    autocast, monkeypatch, tmp_path, place
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(place, interrupted)
    ended = autocast("plan", "show", tmp_path / "plan.json", "--json")
    assert (ended.code, ended.errors) == (1, ["error: interrupted"])
    assert ended.json == {"ok": False, "error": "interrupted"}


@pytest.mark.parametrize("kind", [ValueError, ServiceError])
def test_an_interrupt_is_called_so_even_where_something_stumbled_over_it(autocast, monkeypatch, tmp_path, kind):
    def interrupted(*_):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise kind("task run is not set") from None

    monkeypatch.setattr("flows.cli.plan.shown", interrupted)
    ended = autocast("plan", "show", tmp_path / "plan.json")
    assert ended.code == 1
    assert ended.errors == ["error: interrupted"]
