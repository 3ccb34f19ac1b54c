"""What a session with a server of its own sets for the flows within it."""

from flows.local.session import without_heartbeats


def test_the_end_of_a_flow_run_waits_for_no_heartbeat_where_nobody_listens():
    from prefect.settings import get_current_settings

    before = get_current_settings().flows.heartbeat_frequency
    with without_heartbeats():
        assert get_current_settings().flows.heartbeat_frequency is None
    assert get_current_settings().flows.heartbeat_frequency == before is not None
