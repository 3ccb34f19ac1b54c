"""What an agent is given of a command's answer."""

from flows.agent_server.command_call import LONGEST_LIST, shortened


def test_long_lists_are_cut_and_what_was_left_out_is_said():
    values = {"tensors": list(range(LONGEST_LIST + 5)), "plan": {"nodes": ["n"] * (LONGEST_LIST + 2)}, "ok": True}
    short = shortened(values)
    assert short["tensors"] == list(range(LONGEST_LIST))
    assert len(short["plan"]["nodes"]) == LONGEST_LIST
    assert short["left_out"] == {"tensors": 5, "plan.nodes": 2}


def test_an_answer_without_long_lists_is_itself():
    assert shortened({"a": ["x"], "b": None, "c": "text" * 100}) == {"a": ["x"], "b": None, "c": "text" * 100}
