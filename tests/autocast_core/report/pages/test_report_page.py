import html.parser
import json
import re
from dataclasses import replace

import pytest
from msgspec import structs

from autocast_core.config import Precision
from autocast_core.decide.rules import entry_of
from autocast_core.plan import NodeDecision
from autocast_core.report.network import Network
from autocast_core.report.pages.page_data import front_coded, page_data, script_json
from autocast_core.report.pages.report_page import page
from autocast_core.search.attribution import Attribution, NodeError

HOSTILE = ["</script><script>alert(1)</script>", "\"'&<b>", "a\nb\x1b\u202e\u2028", "n" * 10_000, "<!--", "\ud800"]


def _embedded(text: str) -> dict:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert match is not None
    return json.loads(match.group(1))


def _decoded(coded: list) -> list[str]:
    names = [""]
    for shared, rest in zip(coded[::2], coded[1::2], strict=True):
        names.append(names[-1][:shared] + rest)
    return names[1:]


class _Elements(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def _tags(text: str) -> list[tuple[str, dict]]:
    parser = _Elements()
    parser.feed(text)
    return parser.tags


def test_the_verdict_is_the_first_paragraph(make_report):
    text = page(make_report())
    assert text.index("Passes its gate.") < text.index("<main>")
    assert 'class="verdict passed"' in text


def test_the_page_loads_nothing(make_report):
    tags = _tags(page(make_report()))
    assert not [tag for tag, attributes in tags if tag in ("link", "img", "iframe") or "src" in attributes]
    assert ("http-equiv", "Content-Security-Policy") in [item for _, attributes in tags for item in attributes.items()]


def test_every_node_is_in_the_data(make_report):
    report = make_report(names=["block/a", "block/b", "c"])
    data = _embedded(page(report))
    assert _decoded(data["ids"]) == ["graph/block/a", "graph/block/b", "graph/c"]
    op, precision, rule, reason, evidence, inputs, outputs = data["nodes"][0]
    tensors = _decoded(data["tensors"])
    assert (data["strings"][op], precision, data["strings"][rule]) == ("Conv", "fp32", "io_range")
    assert data["strings"][reason] == "tensor 'block/a out' reaches 1000, over data_max 512"
    assert [tensors[i] for i in (*inputs, *outputs, evidence[0][0])] == ["image", "block/a out", "block/a out"]
    assert evidence[0][1:] == [-2.0, 1000.0, 1000.0, 512.0]
    assert data["ranges"][outputs[0]] == [-2.0, 1000.0]
    assert data["ranges"][inputs[0]] == 0


def test_hostile_names_are_text(make_report):
    report = make_report(names=HOSTILE, name=HOSTILE[0])
    text = page(report)
    assert [tag for tag, _ in _tags(text)].count("script") == 2
    assert "\u202e" not in text
    assert _decoded(_embedded(text)["ids"])[:2] == ["graph/" + HOSTILE[0], "graph/" + HOSTILE[1]]
    text.encode("utf-8")


def test_script_data_holds_no_markup():
    text = script_json({"a": "</script><!--&\u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--&\u2028"}


def test_a_name_that_cannot_be_typed_gets_no_pattern(make_report):
    data = page_data(make_report(names=["a\nb", "n" * 198, "fine"]))
    assert [row[8] if len(row) > 8 else 0 for row in data["nodes"]] == ["", "n" * 198 + "$", 0]


def test_the_rules_of_the_plan_are_explained_as_the_registry_describes_them(make_report):
    report = make_report()
    refused = NodeDecision("graph/d", "Celu", Precision.FP32, "legality", reason="no form")
    plan = structs.replace(report.plan, nodes=(*report.plan.nodes, refused))
    assert page_data(replace(report, plan=plan))["rules"] == {
        rule: [entry_of(rule).description, rule == "legality"] for rule in ("default", "io_range", "legality")
    }


def test_front_coding_shares_prefixes():
    assert front_coded(["abc", "abd", "x"]) == [0, "abc", 2, "d", 0, "x"]


def test_every_metric_is_shown_in_full(make_report):
    report = make_report(metrics={"task/top1": 0.98712345678})
    text = page(report)
    for name, value in report.metrics.items():
        assert f'<th scope="row">{name}</th><td>{value}</td>' in text


@pytest.mark.parametrize(("count", "limit"), [(1000, 1_500_000), (20_000, 8_000_000)])
def test_the_page_stays_small_where_every_name_is_long_and_every_tenth_node_is_kept(make_report, count, limit):
    names = [f"/model/encoder/layer.{i // 40}/attention/self/query/projection/dense_{i}/MatMul" for i in range(count)]
    assert len(page(make_report(names=names)).encode()) < limit


def test_a_model_without_measurements_has_a_page(make_report):
    from autocast_core.calibrate.statistics import Statistics

    text = page(make_report(statistics=Statistics(), fidelity={}, gates=(), network=Network(), data=(), versions={}))
    assert "Undecided: no gate was checked." in text
    assert "Dynamic range" not in text


def _attribution(*nodes: tuple[str, float]) -> Attribution:
    return Attribution(tuple(NodeError(f"graph/{name}", "Relu", 0.01, share, 3, 0) for name, share in nodes))


def test_nodes_that_make_the_error_are_ranked(make_report):
    report = make_report(attribution=_attribution(("b", 0.75), ("c", 0.2499), ("a", 0.00001)))
    section = page(report).split('<h2 id="sources">')[1].split("</section>")[0]
    assert re.findall(r"graph/(\w)", section) == ["b", "c"]
    assert "75.0%" in section and "simulation on onnxruntime-cpu" in section
    assert page_data(report)["shares"] == [1e-05, 0.75, 0.25]


def test_a_report_without_attribution_says_so(make_report):
    text = page(make_report(attribution=Attribution(skipped="no kernel for Mish")))
    assert '<h2 id="sources">' not in text
    assert "Which nodes the error comes from: no kernel for Mish." in text
    assert "shares" not in page_data(make_report())


def test_numbers_that_people_read_name_their_metric(make_report):
    report = make_report(metrics={"task/top1": 0.98712345678, "task/top1_fp32": 0.99})
    text, found = page(report), report.metrics
    shown = re.findall(r'<data value="([^"]*)" title="([^"]*)">([^<]*)</data>', text)
    assert {name: float(value) for value, name, _ in shown} == {name: found[name] for _, name, _ in shown}
    read = {name: words for _, name, words in shown}
    assert read["model/bytes_before"] == "248.02 kB"
    assert read["nodes/low_precision_share"] == "66.67%"
    assert (read["task/top1_fp32"], read["task/top1"]) == ("0.99", "0.9871")
    assert read["fidelity/sqnr_db"] == "66.25"


def test_judges_have_a_table_with_the_worst_batch(make_report):
    metrics = {"task/boxes/lost": 3.0, "task/boxes/worst_batch/lost": 2.0, "task/boxes/map_ratio": 0.99}
    section = page(make_report(metrics=metrics)).split('<h2 id="judges">')[1].split("</section>")[0]
    assert re.findall(r"<code>([^<]*)</code>", section) == ["boxes.lost", "boxes.map_ratio"]
    assert re.findall(r'title="([^"]*)">([^<]*)<', section) == [
        ("task/boxes/lost", "3"),
        ("task/boxes/worst_batch/lost", "2"),
        ("task/boxes/map_ratio", "0.99"),
    ]
    assert '<h2 id="judges">' not in page(make_report())
