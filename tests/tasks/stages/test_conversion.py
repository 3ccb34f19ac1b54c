"""A stage as a task: what Prefect is handed."""

from prefect.utilities.annotations import quote

from tasks.stages import conversion


def test_prefect_does_not_look_into_what_a_stage_is_called_with(monkeypatch):
    monkeypatch.setattr(conversion, "TASKS", {"decide": lambda *arguments: arguments})
    request, inputs = object(), (1, 2)
    name, *quoted = conversion.call_task("decide", request, inputs)
    assert name == "decide" and all(isinstance(each, quote) for each in quoted)
    assert [each.unquote() for each in quoted] == [request, inputs]
