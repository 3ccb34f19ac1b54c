import pytest

from autocast_core.errors import ConfigError
from flows.bridge.settings import from_environment

GOOD = {
    "AUTOCAST_WEBHOOK_SECRET": "0123456789abcdef",
    "PREFECT_API_URL": "http://prefect:4200/api/",
    "MLFLOW_TRACKING_URI": "https://mlflow",
}


def test_settings_come_from_the_environment():
    settings = from_environment({**GOOD, "PREFECT_API_AUTH_STRING": "me:a:b", "AUTOCAST_BRIDGE_MAX_BYTES": "10"})
    assert settings.prefect_api == "http://prefect:4200/api"
    assert settings.prefect_auth == ("me", "a:b")
    assert (settings.max_bytes, settings.tolerance) == (10, 300.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTOCAST_WEBHOOK_SECRET", "short"),
        ("PREFECT_API_URL", ""),
        ("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db"),
        ("AUTOCAST_BRIDGE_RETRY_AFTER_SECONDS", "soon"),
        ("AUTOCAST_BRIDGE_TOLERANCE_SECONDS", "-1"),
    ],
)
def test_what_is_missing_or_unusable_is_named(name, value):
    with pytest.raises(ConfigError, match=name):
        from_environment({**GOOD, name: value})


def test_the_secret_before_is_accepted_too_and_has_the_same_length():
    settings = from_environment({**GOOD, "AUTOCAST_WEBHOOK_SECRET_PREVIOUS": "fedcba9876543210"})
    assert settings.secrets == ("0123456789abcdef", "fedcba9876543210")
    with pytest.raises(ConfigError, match="AUTOCAST_WEBHOOK_SECRET_PREVIOUS must be set to a secret of at least 16"):
        from_environment({**GOOD, "AUTOCAST_WEBHOOK_SECRET_PREVIOUS": "short"})
