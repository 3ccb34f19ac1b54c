from autocast_core.report.summary import summary


def test_the_verdict_and_the_gates_come_first(make_report):
    lines = [line for line in summary(make_report()).splitlines() if line]
    assert lines[:5] == [
        "# digits-fp16: fp16",
        "**Passes its gate.**",
        "| gate | measured | result |  |",
        "| --- | --- | --- | --- |",
        "| sqnr\\_db&#62;=40 | 66.25 | passed |  |",
    ]


def test_a_failed_gate_says_why(make_report, gate):
    text = summary(make_report(gates=(gate("rel_l2<=1e-9", None, False, "no data"),)))
    assert "**Fails 1 of 1 gate.**" in text
    assert "| rel\\_l2&#60;=1e-9 | – | **failed** | no data |" in text


def test_kept_nodes_have_their_reason(make_report):
    assert "| graph/a | Conv | io\\_range | tensor 'a out' reaches 1000, over data\\_max 512 |" in summary(
        make_report()
    )


def test_output_names_are_mapped_to_their_metrics(make_report, fidelity):
    text = summary(make_report(fidelity={"fidelity": fidelity(names={"a:0": "a_0"})}))
    assert "| a:0 | fidelity/outputs/a\\_0 | 0.000501 | – | – | – | – | simulation on onnxruntime-cpu |" in text


def test_digests_versions_and_data_are_there(make_report):
    text = summary(make_report())
    for part in ("1" * 64, "2" * 64, "7" * 64, "1.23.2"):
        assert part in text


def test_hostile_names_break_no_table(make_report):
    text = summary(make_report(names=["<img src=x onerror=a()>|`b`\nc\u202e", "n" * 10_000]))
    assert "<img" not in text
    assert "\u202e" not in text
    assert len(text) < 10_000
    row = next(line for line in text.splitlines() if "img src" in line)
    assert row.count("|") == 5


def test_a_long_list_of_kept_nodes_is_cut(make_report):
    text = summary(make_report(names=[f"n{i}" for i in range(1000)]))
    assert "… and 60 more nodes: see report.html." in text


def test_judges_have_a_table_with_the_worst_batch(make_report):
    metrics = {"task/boxes/lost": 3.0, "task/boxes/worst_batch/lost": 2.0, "task/boxes/map_ratio": 0.99}
    section = summary(make_report(metrics=metrics)).split("## Judges\n")[1].split("\n## ")[0]
    lost, ratio = section.strip().splitlines()[2:]
    assert lost.startswith("| boxes.lost | 3 | 2 | lower | boxes of at least score in FP32")
    assert ratio.startswith("| boxes.map\\_ratio | 0.99 | – | higher |")
