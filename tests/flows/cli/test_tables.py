"""Tables in the terminal."""

from flows.cli.terminal.tables import change_rows, gate_rows, print_table


def test_hostile_cells_are_text(capsys):
    print_table("Nodes", ("node",), [("[red]a\x1b[31m\n",)])
    out = capsys.readouterr().out
    assert "[red]a" in out and "\x1b[31m" not in out


def test_a_long_table_says_how_much_is_left_out(capsys):
    print_table("Nodes", ("node",), [(str(i),) for i in range(5)], 2)
    assert "… and 3 more" in capsys.readouterr().out


def test_only_what_was_measured_is_shown():
    assert change_rows({"nodes/low_precision": 1.0, "nodes/fp32": 3.0, "nodes/low_precision_share": 0.25}) == [
        ("Nodes in low precision", "0", "1 of 4 (25.00%)", "")
    ]
    found = change_rows(
        {"task/top1": 0.5, "task/top1_fp32": 0.75, "model/bytes_before": 200.0, "model/bytes_after": 100.0}
    )
    assert found == [
        ("Size", "200 B", "100 B (50%)", ""),
        ("Task: top1", "0.75", "0.5", "simulation"),
    ]


def test_a_gate_without_a_value_has_a_dash():
    gate = {"expression": "top1>=0.9", "value": None, "passed": False, "reason": "no labels"}
    assert gate_rows([gate]) == [("top1>=0.9", "–", "failed", "no labels")]
