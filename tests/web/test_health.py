"""Health and metrics, as load balancers and Prometheus see them."""

import logging
from datetime import timedelta

import pytest

from tests.support.app import App, Browser, Start, out_of_reach


async def test_a_process_that_answers_is_alive_whatever_else_is_wrong(app: App) -> None:
    with out_of_reach(app):
        response = await app.http().get("/healthz")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert response.headers["cache-control"] == "no-store"


async def test_a_node_is_ready_when_database_and_keys_are(app: App) -> None:
    response = await app.http().get("/readyz")

    answer = response.json()
    assert response.status_code == 200
    assert (answer["status"], answer["draining"]) == ("ready", False)
    assert (answer["database"], answer["signing_keys"]) == ("ok", "ok")


async def test_a_node_whose_database_is_out_of_reach_is_not_ready_and_recovers(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    with out_of_reach(app):
        response = await app.http().get("/readyz")
        assert (response.status_code, response.json()["status"]) == (503, "not ready")
        assert response.json()["database"] == "unavailable"
    assert "not_ready" in caplog.text

    assert (await app.http().get("/readyz")).status_code == 200


async def test_a_node_that_is_stopping_is_not_ready(app: App) -> None:
    app.services["drain"].draining = True

    response = await app.http().get("/readyz")

    assert (response.status_code, response.json()["draining"]) == (503, True)


async def test_the_clocks_distance_from_the_databases_is_reported_and_alarms(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    node = await start()
    node.clock.now = await node.store.now() + timedelta(seconds=3)
    near = (await node.http().get("/readyz")).json()
    assert 1 < near["clock_difference_seconds"] < 5
    assert "clock.off" not in caplog.text
    caplog.set_level(logging.WARNING)

    node.clock.now = await node.store.now() - timedelta(minutes=1)
    far = await node.http().get("/readyz")

    assert far.status_code == 200  # an alarm, not an outage
    assert far.json()["clock_difference_seconds"] > 55
    assert "clock.off" in caplog.text


async def test_metrics_count_what_happened(app: App, browser: Browser) -> None:
    tokens = await browser.tokens()
    await browser.sign_in(await browser.request(prompt="login"), password="wrong")
    await app.refresh(tokens["refresh_token"])
    await app.refresh("x")
    await app.post("/token", "robot", grant_type="urn:made-up")

    response = await app.http().get("/metrics")

    assert response.headers["content-type"].startswith("text/plain")
    for line in (
        'idp_tokens_issued_total{grant_type="authorization_code"} 1.0',
        'idp_tokens_issued_total{grant_type="refresh_token"} 1.0',
        'idp_tokens_refused_total{error="invalid_grant",grant_type="refresh_token"} 1.0',
        'idp_tokens_refused_total{error="unsupported_grant_type",grant_type="other"} 1.0',
        'idp_logins_total{method="password",outcome="succeeded"} 1.0',
        'idp_logins_total{method="password",outcome="failed"} 1.0',
        "idp_commit_queue_depth 0.0",
        "idp_password_queue_depth 0.0",
    ):
        assert line in response.text
    for name in ("alice", "portal", "robot"):
        assert name not in response.text
