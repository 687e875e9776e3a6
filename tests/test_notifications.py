"""Who is told of which episode of alerts: once each, in order, and never by way of a run.

Belongs here: the books, the channels, the sensor and the command, against a receiver on this machine
and against published tables that a test writes. What an episode is stands in ``tests.test_alerts``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field, replace
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dagster as dg
import duckdb
import pytest

from ingest.clock import utc_now
from ingest.settings import Settings, SettingsError, load_settings
from ingest.warehouse import WarehouseBusy, open_warehouse
from orchestration.alerts import delivery
from orchestration.alerts.channels import (
    DeliveryError,
    LogChannel,
    Message,
    WebhookChannel,
    channels,
)
from orchestration.alerts.delivery import Attempts, Cursor, hand_over, tick
from orchestration.alerts.episodes import Episode, EpisodeKey, subject
from tests.command_line import assert_one_line_error, tidemark
from tests.waiting import PATIENCE_SECONDS

DAY = timedelta(days=1)


def on(day: int) -> date:
    """A date of 2026, 1 is the first of January."""
    return date(2025, 12, 31) + day * DAY


def episode(rule: str, opened: int, resolved: int | None = None, **fields: Any) -> Episode:
    """An episode of one channel."""
    common: dict[str, Any] = {
        "rule": rule, "subject_type": "channel", "subject_id": "web", "opened_on": on(opened),
        "last_raised_on": on(opened), "resolved_on": None if resolved is None else on(resolved),
        "status": "open" if resolved is None else "resolved", "dates_raised": 1,
        "times_reopened": 0, "first_value": 0.5, "worst_value": 0.25, "last_value": 0.75,
        "last_date": on(opened), "threshold": 0.8, "severity": "high",
        "message": f"{rule} is wrong", "relation": "metrics_daily_messaging",
        "metric": "delivery_rate",
    }  # fmt: skip
    return Episode(**common | fields)


COLUMNS = {
    **dict.fromkeys(Episode.__dataclass_fields__, "varchar"),
    **dict.fromkeys(("opened_on", "last_raised_on", "resolved_on", "last_date"), "date"),
    **dict.fromkeys(("dates_raised", "times_reopened"), "bigint"),
    **dict.fromkeys(("first_value", "worst_value", "last_value", "threshold"), "double precision"),
}


def publish(settings: Settings, number: int, through: int, *found: Episode) -> None:
    """Put episodes where readers find them, as a publication does."""
    warehouse = open_warehouse(settings)
    link = settings.published_path
    if settings.target == "duckdb":
        warehouse.close()
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        warehouse.connection = duckdb.connect(str(link))
        warehouse.execute("create schema ops")
        warehouse.execute(
            "create table ops.publications (publication_id bigint, data_through date)"
        )
        warehouse.insert_many(
            "ops.publications", ["publication_id", "data_through"], [[number, on(through)]]
        )
    else:
        warehouse.execute(
            "insert into ops.publications (publication_id, published_at, data_through, relations) "
            "values (?, ?, ?, 1)",
            [number, utc_now(), on(through)],
        )
    warehouse.execute("create schema if not exists marts")
    warehouse.execute("drop table if exists marts.alert_episodes")
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    warehouse.execute(f"create table marts.alert_episodes ({columns})")
    warehouse.insert_many("marts.alert_episodes", list(COLUMNS), [astuple(row) for row in found])
    warehouse.close()


def books(settings: Settings) -> list[tuple[Any, ...]]:
    """Rule, number, event, attempts, whether delivered, error of each row of the books."""
    warehouse = open_warehouse(settings)
    try:
        return warehouse.execute(
            "select rule, number, event, attempts, delivered_at is not null, last_error "
            "from ops.alert_deliveries order by rule, number"
        )
    finally:
        warehouse.close()


@dataclass
class Recorder:
    """A channel that keeps what it gets, and fails on the rules it is told to."""

    name: str = "recorder"
    failing: set[str] = field(default_factory=set)
    got: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> None:
        """Keep the message."""
        if message.key.rule in self.failing:
            raise DeliveryError("answered 503,\ncome back")
        self.got.append(message)

    def said(self) -> list[tuple[str, str, int]]:
        """Rule, event and number of what came since this was asked last."""
        found = [(message.key.rule, message.event, message.number) for message in self.got]
        self.got = []
        return found


# -- what is due -----------------------------------------------------------------------------------


def test_each_change_is_told_once(settings: Settings) -> None:
    """A year of history is no year of messages; then openings, resolutions, reopenings, losses."""
    channel = Recorder()

    def told(number: int, through: int, *found: Episode) -> list[tuple[str, str, int]]:
        publish(settings, number, through, *found)
        hand_over(settings, [channel])
        said = channel.said()
        # Whoever asks again, or publishes the same again, hears nothing.
        hand_over(settings, [channel])
        assert channel.said() == []
        return said

    history = [episode(f"old{n}", n, n + 2) for n in range(1, 80)]
    assert told(1, 90, *history, episode("a", 85), episode("b", 3)) == [
        ("a", "opened", 1),
        ("b", "opened", 1),
    ]
    # c opened and ended in between; late events show that d had, long ago.
    assert told(
        2, 93, *history, episode("a", 85, 92), episode("b", 3), episode("c", 91, 93),
        episode("d", 50, 52),
    ) == [("c", "opened", 1), ("c", "resolved", 2), ("a", "resolved", 2)]  # fmt: skip
    # a breaks again within its cool-down; b was restated away.
    assert told(3, 94, *history, episode("a", 85, times_reopened=1), episode("c", 91, 93)) == [
        ("a", "opened", 3),
        ("b", "resolved", 2),
    ]
    assert told(4, 95, episode("a", 85, 95, times_reopened=1)) == [("a", "resolved", 4)]
    assert [row[:3] for row in books(settings)][:4] == [
        ("a", 1, "opened"), ("a", 2, "resolved"), ("a", 3, "opened"), ("a", 4, "resolved"),
    ]  # fmt: skip


def test_a_new_channel_is_told_what_is_open(duckdb_settings: Settings) -> None:
    """Books are kept by channel."""
    first, second = Recorder("one"), Recorder("two")
    publish(duckdb_settings, 1, 10, episode("a", 3, 5), episode("b", 9))
    hand_over(duckdb_settings, [first])
    publish(duckdb_settings, 2, 12, episode("a", 3, 5), episode("b", 9, 11), episode("c", 12))
    hand_over(duckdb_settings, [first, second])
    assert first.said() == [("b", "opened", 1), ("c", "opened", 1), ("b", "resolved", 2)]
    assert second.said() == [("c", "opened", 1)]


def test_the_most_severe_come_first_and_a_tick_has_an_end(
    duckdb_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit into one tick comes with the next."""
    monkeypatch.setattr(delivery, "MOST_MESSAGES", 2)
    channel = Recorder()
    publish(duckdb_settings, 1, 10, episode("low", 9, severity="low"), episode("old", 2),
            episode("new", 8), episode("worst", 1, severity="critical"))  # fmt: skip
    assert hand_over(duckdb_settings, [channel]).left == 2
    assert [rule for rule, _, _ in channel.said()] == ["worst", "new"]
    assert hand_over(duckdb_settings, [channel]).complete == ("recorder",)
    assert [rule for rule, _, _ in channel.said()] == ["old", "low"]


def test_failures_are_tried_again_later_and_hold_up_no_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Back-off, the same message on every attempt, the error in the books, no state lost."""
    channel = Recorder(failing={"a", "b"})
    clock = utc_now()
    monkeypatch.setattr(delivery, "utc_now", lambda: clock)
    publish(settings, 1, 10, episode("a", 9), episode("b", 8), episode("c", 7))
    first = hand_over(settings, [channel])
    assert (first.delivered, first.left, first.complete) == (0, 3, ())
    # One failure ends a pass; a minute has not gone by, so that the next one is tried.
    hand_over(settings, [channel])
    assert hand_over(settings, [channel]).delivered == 1
    assert books(settings) == [
        ("a", 1, "opened", 1, False, "answered 503, come back"),
        ("b", 1, "opened", 1, False, "answered 503, come back"),
        ("c", 1, "opened", 1, True, None),
    ]
    assert hand_over(settings, [channel]).delivered == 0
    clock += timedelta(minutes=1)
    channel.failing = {"b"}
    # b is resolved before the first hand-over is over: that is history.
    publish(settings, 2, 11, episode("a", 9), episode("b", 8, 11), episode("c", 7))
    hand_over(settings, [channel])
    assert channel.said() == [("c", "opened", 1), ("a", "opened", 1)]
    assert books(settings)[0] == ("a", 1, "opened", 2, True, "answered 503, come back")
    publish(settings, 3, 12, episode("a", 9, 12), episode("b", 8), episode("c", 7))
    clock += timedelta(minutes=1)
    channel.failing = set()
    hand_over(settings, [channel])
    assert channel.said() == [("a", "resolved", 2), ("b", "opened", 1)]
    assert books(settings)[2] == ("b", 1, "opened", 2, True, "answered 503, come back")


def test_waits_grow_and_have_an_end() -> None:
    at = utc_now()
    for count, minutes in ((1, 1), (2, 2), (4, 8), (9, 256), (10, 360), (10_000, 360)):
        attempts = Attempts(count, at)
        assert not attempts.due(at + timedelta(minutes=minutes, seconds=-1)), count
        assert attempts.due(at + timedelta(minutes=minutes)), count


# -- the sensor ------------------------------------------------------------------------------------

HOLD = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_busy_warehouse_delays_the_books_and_repeats_nothing(
    duckdb_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run takes the file while a message is on its way: the sensor remembers, and books later."""
    holder: list[subprocess.Popen[str]] = []

    @dataclass
    class Slow(Recorder):
        def send(self, message: Message) -> None:
            super().send(message)
            path = str(duckdb_settings.warehouse_path)
            process = subprocess.Popen(
                [sys.executable, "-c", HOLD, path],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            # Nobody has to wait: the file is not held while a message is sent.
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            holder.append(process)

    channel = Slow()
    monkeypatch.setattr(delivery, "channels", lambda settings: (channel,))
    monkeypatch.setattr(delivery, "WAIT_SECONDS", 0.1)
    publish(duckdb_settings, 1, 10, episode("a", 9))
    words, cursor = tick(duckdb_settings, Cursor())
    assert "1 messages delivered" in words
    assert [outcome.key.rule for outcome in cursor.unbooked] == ["a"]
    kept = Cursor.read(cursor.text())
    assert kept == cursor
    words, kept = tick(duckdb_settings, kept)
    assert words == "the warehouse is in use; next time" and kept == cursor
    with pytest.raises(WarehouseBusy):
        open_warehouse(duckdb_settings, wait_seconds=0, read_only=True)
    holder[0].communicate("\n", timeout=PATIENCE_SECONDS)

    words, done = tick(duckdb_settings, kept)
    assert channel.said() == [("a", "opened", 1)]
    assert books(duckdb_settings) == [("a", 1, "opened", 1, True, None)]
    assert (done.publication_id, done.unbooked) == (1, ())
    # Booked twice is booked once.
    hand_over(duckdb_settings, [channel], unbooked=kept.unbooked)
    assert books(duckdb_settings) == [("a", 1, "opened", 1, True, None)]


def test_the_sensor_tells_the_log_once_a_publication(
    duckdb_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    sensor = delivery.sensor(duckdb_settings)
    assert sensor.default_status.value == "RUNNING"

    assert "nothing was published yet" in tick(duckdb_settings, Cursor())[0]
    publish(duckdb_settings, 7, 10, episode("a", 9))
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance)
        result = sensor.evaluate_tick(context)
        assert result.skip_message == "publication 7: 1 messages delivered"
        assert result.cursor
        context = dg.build_sensor_context(instance=instance, cursor=result.cursor)
        again = sensor.evaluate_tick(context)
    assert again.skip_message == "publication 7 was handed over"
    assert [
        record.getMessage() for record in caplog.records if record.name == "tidemark.alerts"
    ] == [
        "alert opened: a, channel web, since 2026-01-09 (high; worst 0.25, threshold 0.8): a is wrong"
    ]


# -- channels --------------------------------------------------------------------------------------


@dataclass
class Receiver:
    """A web server of this machine that keeps what is posted to it."""

    url: str
    status: int = 204
    posts: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Give a receiver on a free port."""
    found = Receiver("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.paths.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.posts.append((dict(self.headers), json.loads(body)))
            self.send_response(found.status)
            if 300 <= found.status < 400:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}/hook?token=secret"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def message(event: str = "opened", number: int = 1, about: Episode | None = None) -> Message:
    """A message on an episode of rule a."""
    about = about or episode("a", 9, None if event == "opened" else 12)
    return Message(about.key, event, number, about, 4, on(12))


def test_a_webhook_gets_json_and_can_tell_repetitions(
    duckdb_settings: Settings, receiver: Receiver
) -> None:
    settings = replace(duckdb_settings, alert_webhook=receiver.url)
    publish(settings, 4, 12, episode("a", 9))
    words, cursor = tick(settings, Cursor())
    # Log and webhook.
    assert words == "publication 4: 2 messages delivered" and cursor.channels == ("log", "webhook")
    publish(settings, 5, 13, episode("a", 9, 13))
    receiver.status = 503
    words, cursor = tick(settings, cursor)
    assert words == "publication 5: 1 messages delivered, 1 to be tried again"
    assert cursor.publication_id is None
    receiver.status = 200
    warehouse = open_warehouse(settings)
    warehouse.execute("update ops.alert_deliveries set attempted_at = timestamp '2026-01-01'")
    warehouse.close()
    assert tick(settings, cursor)[0] == "publication 5: 1 messages delivered"
    opened, failed, repeated = receiver.posts
    assert opened[0]["Content-Type"] == "application/json"
    assert {name: opened[1][name] for name in (
        "event", "rule", "subject_type", "subject_id", "opened_on", "severity", "worst_value",
        "threshold", "relation", "metric", "reopened", "withdrawn", "publication_id",
        "data_through",
    )} == {
        "event": "opened", "rule": "a", "subject_type": "channel", "subject_id": "web",
        "opened_on": "2026-01-09", "severity": "high", "worst_value": 0.25, "threshold": 0.8,
        "relation": "metrics_daily_messaging", "metric": "delivery_rate", "reopened": False,
        "withdrawn": False, "publication_id": 4, "data_through": "2026-01-12",
    }  # fmt: skip
    assert failed[1]["message_id"] == repeated[1]["message_id"] != opened[1]["message_id"]
    assert failed[0]["Idempotency-Key"] == failed[1]["message_id"]
    assert repeated[1]["resolved_on"] == "2026-01-13"
    rows = [row for row in books(settings) if row[5]]
    assert rows == [("a", 2, "resolved", 2, True, "answered 503")]


@pytest.mark.parametrize("status", [302, 400, 500])
def test_any_other_answer_is_no_delivery(receiver: Receiver, status: int) -> None:
    """A redirection is not followed: it would arrive as something else, somewhere else."""
    receiver.status = status
    with pytest.raises(DeliveryError, match=f"^answered {status}$"):
        WebhookChannel(receiver.url).send(message())
    assert receiver.paths == ["POST /hook?token=secret"]


def test_nobody_there_is_one_line_without_the_address(receiver: Receiver) -> None:
    with pytest.raises(DeliveryError) as refused:
        WebhookChannel("http://127.0.0.1:9/hook?token=secret").send(message())
    assert str(refused.value) == "no answer (ConnectionRefusedError)"

    class Silent(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            gate.wait(10)

        def log_message(self, *args: object) -> None:
            """Keep quiet."""

    gate = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises(DeliveryError, match=r"^no answer \(TimeoutError\)$"):
            WebhookChannel(f"http://127.0.0.1:{server.server_port}/", 0.2).send(message())
    finally:
        gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_words_of_messages() -> None:
    lines: list[str] = []
    log = LogChannel(lines.append)
    platform = episode("c", 1, subject_type="platform", subject_id="")
    for sent in (
        message("resolved", 2),
        message("opened", 3),
        message(about=platform),
        Message(platform.key, "resolved", 2, None, 4, on(12)),
    ):
        log.send(sent)
    detail = "(high; worst 0.25, threshold 0.8)"
    assert lines == [
        f"alert resolved: a, channel web, since 2026-01-09 until 2026-01-12 {detail}: a is wrong",
        f"alert opened: a, channel web again, since 2026-01-09 {detail}: a is wrong",
        f"alert opened: c, platform, since 2026-01-01 {detail}: c is wrong",
        "alert resolved: c, platform, since 2026-01-01, withdrawn by restated figures",
    ]
    assert message("opened", 3).document()["reopened"] is True
    assert subject(EpisodeKey("r", "hour|channel", "9|web", on(1))) == "hour 9, channel web"
    assert subject(EpisodeKey("r", "a|b", "x|y|z", on(1))) == "a|b x|y|z"


# -- settings and command --------------------------------------------------------------------------


def test_the_webhook_is_a_setting() -> None:
    unset = load_settings({})
    assert unset.alert_webhook is None and [c.name for c in channels(unset)] == ["log"]
    found = load_settings({"TIDEMARK_ALERT_WEBHOOK": "https://hooks.example:8443/x?y=z"})
    assert channels(found)[1] == WebhookChannel("https://hooks.example:8443/x?y=z")


@pytest.mark.parametrize(
    "text", ["hooks.example/x", "ftp://hooks.example/x", "https:///x", "file:///etc/passwd",
             "https://a b/", "http://a:port/", "https://a/\nHost: b"],
)  # fmt: skip
def test_what_is_no_web_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="TIDEMARK_ALERT_WEBHOOK is no web address") as caught:
        load_settings({"TIDEMARK_ALERT_WEBHOOK": text})
    assert text not in str(caught.value)


def listed(settings: Settings, *options: str) -> Sequence[Sequence[str]]:
    """Lines of the command, as words."""
    result = tidemark(settings, "alerts", *options)
    assert result.returncode == 0, result.stderr
    return [line.split() for line in result.stdout.splitlines()]


def test_the_command_lists_what_is_open(duckdb_settings: Settings) -> None:
    """Open episodes, all of them, as data; and a line when there is none, or nothing at all."""
    assert_one_line_error(tidemark(duckdb_settings, "alerts"), "nothing was published yet")
    publish(duckdb_settings, 1, 12, episode("b", 3, 5), episode("a", 9, severity="low"),
            episode("c", 1))  # fmt: skip
    rows = listed(duckdb_settings)
    assert [row[:2] for row in rows[-2:]] == [["high", "c"], ["low", "a"]]
    assert not any("b" in row for row in rows)
    every = listed(duckdb_settings, "--all")
    assert [row[1] for row in every[-3:]] == ["b", "c", "a"]
    assert "2026-01-05" in every[-3]
    document = json.loads(tidemark(duckdb_settings, "alerts", "--json", "--all").stdout)
    assert [row["rule"] for row in document] == ["b", "c", "a"]
    assert document[0]["resolved_on"] == "2026-01-05" and document[1]["resolved_on"] is None
    publish(duckdb_settings, 2, 13, episode("b", 3, 5))
    assert [" ".join(words) for words in listed(duckdb_settings)] == [
        "nothing is broken, data through 2026-01-13"
    ]
