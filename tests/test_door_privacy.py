"""Nothing that a person could be recognised by is stored, and joins still work."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ingest.privacy import Pseudonyms, identifying
from ingest.redaction import redact, redact_tree
from ingest.settings import HashKey, Settings, SettingsError, load_settings, parse_hash_keys
from tests.events import line, load, query

PHONE = "+919876543210"
KEY = HashKey("v1", bytes(range(32)))


@pytest.mark.parametrize(
    ("value", "normal_form"),
    [
        ("+919876543210", PHONE),
        ("+91 98765-43210", PHONE),
        ("+91 (98765) 43.210", PHONE),
        (" +919876543210 ", PHONE),
        ("\uff0b91 98765 43210", PHONE),
        ("+\u096f\u0967 \u096f\u096e\u096d\u096c\u096b \u096a\u0969\u0968\u0967\u0966", PHONE),
        ("whatsapp:+919876543210", PHONE),
        ("tel:+919876543210", PHONE),
        ("Jo.Doe+x@Example.COM", "jo.doe+x@example.com"),
        ("mailto:jo@example.com", "jo@example.com"),
        ("wamid.HBgM", "wamid.HBgM"),
        ("919876543210", None),
        ("+1234567", None),
        ("+1234567890123456", None),
        ("u_000123", None),
        ("a+b", None),
        ("user@host", None),
        ("@handle", None),
        ("2026-03-01T10:00:00+05:30", None),
    ],
)
def test_whole_values_that_identify(value: str, normal_form: str | None) -> None:
    assert identifying(value) == normal_form


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("call +91 98765 43210 now", "call [phone] now"),
        ("call 0049 30 1234567.", "call [phone]."),
        ("(555) 123-4567 or 98765 43210", "[phone] or [phone]"),
        ("write to jo.doe@example.co.uk!", "write to [email]!"),
        ("4111 1111 1111 1111, 5500-0000-0000-0004", "[card], [card]"),
        ("DE89 3704 0044 0532 0130 00 please", "[iban] please"),
        ("from 192.168.1.20:443 and 2001:db8::1", "from [ip]:443 and [ip]"),
        ("6212345678900000003, 6759 6498 2643 8453", "[card], [card]"),
        ("6212345678900000004 and 6759649826438454", "6212345678900000004 and 6759649826438454"),
        ("call 00000000-0000-4000-8000-000000000001", "call 00000000-0000-4000-8000-000000000001"),
        (
            f"ref 0000012345 of de89370400440532013000{'a' * 42}",
            f"ref 0000012345 of de89370400440532013000{'a' * 42}",
        ),
        ("to +49 30123456-0000-4000-8000-000000000001", "to [phone]-4000-8000-000000000001"),
        ("00000000-0000-4000-8000-000000000001@example.com", "[email]"),
        (
            '{"phoneNumber": "9876543210", "id": "9876543210"}',
            '{"phoneNumber": "[phone]", "id": "9876543210"}',
        ),
        ("order 1234567890123456 of 1767225600000", "order 1234567890123456 of 1767225600000"),
        ("at 10:20:30 on 2026-03-01", "at 10:20:30 on 2026-03-01"),
        ("version 1.2.3, 12 items for 1,200.50", "version 1.2.3, 12 items for 1,200.50"),
    ],
)
def test_free_text(text: str, redacted: str) -> None:
    assert redact(text) == redacted
    assert redact(redacted) == redacted


@pytest.mark.parametrize(
    ("value", "redacted"),
    [
        ({"phone": "987 654 32 10", "id": "9876543210"}, {"phone": "[phone]", "id": "9876543210"}),
        ({"mobileNo": 9876543210, "count": 9876543210},
         {"mobileNo": "[phone]", "count": 9876543210}),
        ({"tel": {"number": "9876543210", "id": "98765432"}},
         {"tel": {"number": "[phone]", "id": "98765432"}}),
        ({"phone_number_id": "106540352242922"}, {"phone_number_id": "106540352242922"}),
        ({"phone": "00000000-0000-4000-8000-000000000001"},
         {"phone": "00000000-0000-4000-8000-000000000001"}),
        ({"fullname": "A B", "FullName": "A B", "client full name": "A B", "address": {"x": 1}},
         dict.fromkeys(("fullname", "FullName", "client full name", "address"), "[removed]")),
        ({"[ip]": 1, "[phone]": 98765432}, {"[ip]": 1, "[phone]": 98765432}),
        ({"x": [{"User-Agent": "Mozilla/5.0"}]}, {"x": [{}]}),
    ],
)  # fmt: skip
def test_values_that_their_keys_tell(value: object, redacted: object) -> None:
    found = redact_tree(value, Pseudonyms(KEY))
    assert found == redacted
    assert redact_tree(found, Pseudonyms(KEY)) == redacted


def test_a_number_sent_for_a_hash_is_no_user(duckdb_settings: Settings, tmp_path: Path) -> None:
    hashes = (PHONE, "0123456789abcdef")
    lines = [
        line(event_name="whatsapp_message_read", advisor_id_hash="a",
             properties={"whatsapp_message_id": "m", "recipient_phone_hash": value})
        for value in hashes
    ]  # fmt: skip
    load(duckdb_settings, tmp_path / "f.ndjson", b"\n".join(lines))
    rows = query(duckdb_settings, "select recipient_phone_hash, user_id from raw.events")
    keyed = Pseudonyms.of_settings(duckdb_settings)
    assert {(row["recipient_phone_hash"], row["user_id"]) for row in rows} == {
        (PHONE, keyed.of(PHONE)), (hashes[1], hashes[1]),
    }  # fmt: skip


def test_hashes_depend_on_the_key_and_say_which() -> None:
    first, second = Pseudonyms(KEY), Pseudonyms(HashKey("v2", b"x" * 32))
    assert first.of(PHONE) == first.of("+91 98765-43210")
    assert first.of(PHONE).startswith("v1:")
    assert len(first.of(PHONE)) == len("v1:") + 64
    assert first.of(PHONE)[3:] != second.of(PHONE)[3:]
    assert first.of(first.of(PHONE)) == first.of(PHONE)


def test_hashed_identifiers_still_join(duckdb_settings: Settings, tmp_path: Path) -> None:
    lines = [
        line(user_id="+91 98765 43210"),
        line(event_name="message_received", user_id=PHONE, properties={"chat_id": PHONE}),
        line(user_id="12345678901", advisor_id_hash="+919876543210"),
    ]
    load(duckdb_settings, tmp_path / "f.ndjson", b"\n".join(lines))
    rows = query(duckdb_settings, "select user_id, chat_id, advisor_id_hash from raw.events")
    assert len({row["user_id"] for row in rows if row["user_id"] != "12345678901"}) == 1
    (chat,) = [row for row in rows if row["chat_id"]]
    assert chat["chat_id"] == chat["user_id"]
    (plain,) = [row for row in rows if row["user_id"] == "12345678901"]
    assert plain["advisor_id_hash"] == PHONE


def test_do_not_track_takes_identifiers_and_context(settings: Settings, tmp_path: Path) -> None:
    data = line(
        event_name="whatsapp_message_read", advisor_id_hash="adv", session_id="s", actor_id="x",
        anonymous_id="a",
        context={"dnt": True, "utm_source": "ads", "user_agent": "Mozilla/5.0", "client": "c"},
        properties={"whatsapp_message_id": "m", "recipient_phone_hash": "h", "visitorHash": "h",
                    "contact": PHONE, "deep": {"list": [PHONE, "y"], "session-id": "s", "x": 1}},
        metadata={"user_id": "u", "x": 2},
    )  # fmt: skip
    load(settings, tmp_path / "f.ndjson", data)
    (row,) = query(
        settings,
        "select user_id, anonymous_id, session_id, actor_id, recipient_phone_hash, utm_source, "
        "device_type, browser, advisor_id_hash, whatsapp_message_id, dnt, "
        "cast(extra as varchar) as extra from raw.events",
    )
    assert json.loads(row.pop("extra")) == {"deep": {"list": ["y"], "x": 1}, "x": 2}
    assert row.pop("advisor_id_hash") == "adv"
    assert row.pop("whatsapp_message_id") == "m"
    assert row.pop("dnt") is True
    assert set(row.values()) == {None}


def test_required_fields_are_checked_before_do_not_track(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    data = line(event_name="order_created", user_id="u", service_code="s", context={"dnt": True})
    assert load(duckdb_settings, tmp_path / "f.ndjson", data).accepted == 1


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
         "Gecko) Version/17.4 Mobile/15E148 Safari/604.1", ("mobile", "Mobile Safari", "iOS")),
        ("Mozilla/5.0 (iPad; CPU OS 17_4 like Mac OS X) AppleWebKit/605.1.15 Version/17.4 Mobile "
         "Safari/604.1", ("tablet", "Mobile Safari", "iOS")),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
         "Chrome/120.0.0.0 Safari/537.36", ("desktop", "Chrome", "Windows")),
        ("WhatsApp/2.23.20.0", ("bot", "WhatsApp", None)),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
         ("bot", "Googlebot", None)),
        ("something", ("other", None, None)),
    ],
)  # fmt: skip
def test_user_agents_are_reduced(
    duckdb_settings: Settings, tmp_path: Path, agent: str, expected: tuple[str | None, ...]
) -> None:
    load(duckdb_settings, tmp_path / "f.ndjson", line(context={"user_agent": agent}))
    (row,) = query(duckdb_settings, "select device_type, browser, os from raw.events")
    assert row["device_type"] == expected[0]
    if expected[1] != "WhatsApp":
        assert (row["browser"], row["os"]) == expected[1:]


@pytest.mark.parametrize(
    "place",
    [
        {"userAgent": "curl/8.0"},
        {"device": {"user_agent": "curl/8.0"}},
        {"request": {"headers": [{"User-Agent": "curl/8.0"}]}},
        {"payload": {"context": {"user_agent": "curl/8.0"}}},
        {"context": {"user_agent": "curl/8.0"}, "user_agent": "Mozilla/5.0"},
        {"context": {"client": {"userAgent": "curl/8.0"}}},
    ],
)
def test_user_agents_are_parsed_wherever_they_stand(
    duckdb_settings: Settings, tmp_path: Path, place: dict[str, object]
) -> None:
    load(duckdb_settings, tmp_path / "f.ndjson", line(**place, model="x"))
    (row,) = query(duckdb_settings, "select * from raw.events")
    assert (row["device_type"], row["browser"]) == ("bot", "curl")
    assert json.loads(row["extra"])["model"] == "x"
    assert not [value for value in row.values() if "curl/8" in str(value) or "Moz" in str(value)]


def test_keys_are_refused_when_they_are_weak_or_missing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="32 hex digits"):
        parse_hash_keys("v1:abcd")
    with pytest.raises(SettingsError, match="each version once"):
        parse_hash_keys(f"v1:{'ab' * 16},v1:{'cd' * 16}")
    with pytest.raises(SettingsError, match="refuses the development key"):
        load_settings({"TIDEMARK_ENV": "prod"})
    development = load_settings({}).write_key.secret.hex()
    with pytest.raises(SettingsError, match="make one of your own"):
        load_settings({"TIDEMARK_ENV": "ci", "TIDEMARK_HASH_KEYS": f"v1:{development}"})
    settings = load_settings({"TIDEMARK_HASH_KEYS": f"v1:{'ab' * 16},v2:{'cd' * 16}"})
    assert settings.write_key.version == "v2"
    assert "cdcd" not in repr(settings)


def test_a_field_named_extra_is_redacted_like_any_unknown_one(
    duckdb_settings: Settings, tmp_path: Path
) -> None:
    data = line(extra={"who": "me@example.com"}) + b"\n" + line(extra="me@example.com")
    load(duckdb_settings, tmp_path / "f.ndjson", data)
    rows = query(duckdb_settings, "select cast(extra as varchar) as extra from raw.events")
    assert len(rows) == 2
    assert not [row for row in rows if "me@example.com" in row["extra"]]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("of +91 98123 45678a@b.example", "of "), ("a@b.example.x@y.example;", ";"),
        ("wamid.HBgM=a@b.example", ""), ("see +919812345678, o'ann+x@b.example", "see , "),
    ],
)  # fmt: skip
def test_parts_that_touch_each_other_are_all_hidden(text: str, kept: str) -> None:
    """Whole numbers and whole addresses: nothing is left of one because of the other."""
    hashed = re.compile(f"{KEY.version}:[0-9a-f]{{64}}")
    assert hashed.sub("", Pseudonyms(KEY).of(text)).strip(".@") == kept
