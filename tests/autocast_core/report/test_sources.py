from autocast_core.report.sources import attribution_table, error_sources
from autocast_core.report.summary import summary
from autocast_core.search.attribution import Attribution, NodeError

FOUND = Attribution((NodeError("graph/b", "Relu", 0.5, 0.9, 3, 0), NodeError("graph/c", "Conv", 0.1, 0.00001)))


def test_shares_that_are_worth_nothing_are_left_out(make_report):
    assert [node.id for node in error_sources(make_report(attribution=FOUND))] == ["graph/b"]


def test_the_table_has_every_lowered_node_and_stable_columns(make_report):
    table = attribution_table(make_report(attribution=FOUND))
    assert table["id"] == ["graph/b", "graph/c"]
    assert list(table) == ["id", "op_type", "share", "local", "overflow", "underflow"]
    assert attribution_table(make_report())["id"] == []


def test_the_summary_ranks_them(make_report):
    assert "| graph/b | Relu | 90.0% | 0.5 | 3 |" in summary(make_report(attribution=FOUND))
