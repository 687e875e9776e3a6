"""Personal data as people, programs and providers write it, and the events that it is planted in.

Belongs here: forms, what of them may be found nowhere afterwards, and documents that hold them in
every field and every way in. What is asserted of them stands in test_personal_data.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ingest.registry import Event, Field, registry
from ingest.validation import currency_codes

Row = dict[str, Any]

#: No program may read this anywhere: it is the text of messages, and names of people.
SAID = "my private words"
NAMED = "Zqann Zqdoe"

#: What a browser says of itself: parsed, and kept nowhere.
AGENT = "Zqagent/7.5 (X11; Linux x86_64)"

#: Numbers that only their keys tell, and what of them may be found nowhere.
CALLED: Row = {
    "phone": "919876548000", "Phone Number": 919876548001, "mobile": "(987) 654-8002",
    "msisdn": ["09876548003", {"number": "9876548004"}], "whatsapp_number": 9876548005.0,
    "customerTelephone": "9876548006 (home)", "contact-no": "98 76 54 80 07", "wa_id": "919876548008",
    "work_phone_2": "9876548009", "tel": {"number": "9876548010"},
}  # fmt: skip
_CALLED = (*(f"98765480{place:02d}" for place in range(11)), "654-8002", "98 76 54 80 07")

DATES = ("2026-03-01", "2026-03-02", "2026-03-03")


@dataclass(frozen=True)
class Form:
    """One way to write personal data.

    ``traces`` are texts that may be found nowhere. ``identifies``: in a field of an identifier it
    is hidden (what only free text is searched for is left alone there).
    """

    name: str
    text: str
    traces: tuple[str, ...]
    identifies: bool = True


def _digits(zero: str) -> Callable[[str], str]:
    """Write digits in another script, of which this is the zero."""
    return lambda text: "".join(chr(ord(zero) + int(c)) if c.isdigit() else c for c in text)


_NUMBERS: dict[str, Callable[[str, str], str]] = {
    "plain": lambda a, b: f"+91{a}{b}",
    "spaces": lambda a, b: f"+91 {a} {b}",
    "dashes": lambda a, b: f"+91-{a}-{b}",
    "dots": lambda a, b: f"+91.{a}.{b}",
    "parentheses": lambda a, b: f"+91 ({a}) {b}",
    "slashes": lambda a, b: f"+91/{a}/{b}",
    "underscores": lambda a, b: f"+91_{a}_{b}",
    "a gap after the plus": lambda a, b: f"+ 91 {a} {b}",
    "no-break spaces": lambda a, b: f"+91\u00a0{a}\u00a0{b}",
    "thin spaces": lambda a, b: f"+91\u2009{a}\u2009{b}",
    "narrow no-break spaces": lambda a, b: f"+91\u202f{a}\u202f{b}",
    "zero-width spaces": lambda a, b: f"+91{a}\u200b{b}",
    "word joiners": lambda a, b: f"+91{a}\u2060{b}",
    "left-to-right marks": lambda a, b: f"\u200e+91{a}\u200e{b}",
    "en dashes": lambda a, b: f"+91\u2013{a}\u2013{b}",
    "no-break hyphens": lambda a, b: f"+91\u2011{a}\u2011{b}",
    "minus signs": lambda a, b: f"+91\u2212{a}\u2212{b}",
    "full width": lambda a, b: "\uff0b" + _digits("\uff10")(f"91{a}{b}"),
    "a small plus": lambda a, b: f"\ufe6291{a}{b}",
    "a raised plus": lambda a, b: f"\u207a91{a}{b}",
    "arabic digits": lambda a, b: "+" + _digits("\u0660")(f"91{a}{b}"),
    "persian digits": lambda a, b: "+" + _digits("\u06f0")(f"91{a}{b}"),
    "devanagari digits": lambda a, b: "+" + _digits("\u0966")(f"91 {a} {b}"),
    "bengali digits": lambda a, b: "+" + _digits("\u09e6")(f"91{a}{b}"),
    "thai digits": lambda a, b: "+" + _digits("\u0e50")(f"91{a}{b}"),
    "bold digits": lambda a, b: "+" + _digits("\U0001d7ce")(f"91{a}{b}"),
    "tel:": lambda a, b: f"tel:+91-{a}-{b}",
    "TEL :": lambda a, b: f"TEL : +91{a}{b}",
    "sms:": lambda a, b: f"sms:+91{a}{b}",
    "whatsapp:": lambda a, b: f"whatsapp:+91{a}{b}",
    "blanks around": lambda a, b: f"  +91{a}{b} ",
    "percent-encoded": lambda a, b: f"%2B91{a}{b}",
    "percent-encoded twice": lambda a, b: f"%252B91{a}{b}",
    "percent-encoded spaces": lambda a, b: f"%2b91%20{a}%20{b}",
    "inside an id": lambda a, b: f"user:+91{a}{b}",
    "with an extension": lambda a, b: f"tel:+91{a}{b};ext=12",
    "before a host": lambda a, b: f"+91{a}{b}@broadcast",
    "in brackets": lambda a, b: f"chat<+91{a}{b}>",
}  # fmt: skip

_ADDRESSES: dict[str, Callable[[str], str]] = {
    "plain": lambda n: f"{n}@example.com",
    "upper case": lambda n: f"{n.upper()}@EXAMPLE.COM",
    "a plus": lambda n: f"{n}+news@example.com",
    "dots and dashes": lambda n: f"a.{n}-b@mail.example.co.uk",
    "an apostrophe": lambda n: f"o'{n}@example.com",
    "mailto:": lambda n: f"mailto:{n}@example.com",
    "an international name": lambda n: f"{n}@b\u00fccher.example",
    "international throughout": lambda n: f"\u0438{n}@\u043f\u0440\u0438\u043c\u0435\u0440.\u0440\u0444",
    "a punycode name": lambda n: f"{n}@xn--bcher-kva.example",
    "a punycode top level": lambda n: f"{n}@example.xn--p1ai",
    "percent-encoded": lambda n: f"{n}%40example.com",
    "percent-encoded twice": lambda n: f"{n}%2540example.com",
    "a full-width at": lambda n: f"{n}\uff20example.com",
    "a small at": lambda n: f"{n}\ufe6bexample.com",
    "a name before": lambda n: f"{NAMED} <{n}@example.com>",
    "inside an id": lambda n: f"order-for-{n}@example.com",
    "a dot after": lambda n: f"{n}@example.com.",
    "a list": lambda n: f"{n}@example.com,{n}2@example.org",
}  # fmt: skip


def _forms() -> Iterator[Form]:
    for number, (name, write) in enumerate(_NUMBERS.items()):
        first, second = "98765", f"43{number:03d}"
        text = write(first, second)
        yield Form(f"number, {name}", text, (first + second, text.strip()))
    for number, (name, address) in enumerate(_ADDRESSES.items()):
        local = f"zqmail{number:02d}"
        traces = (local, local.upper(), *([NAMED] if name == "a name before" else []))
        yield Form(f"address, {name}", address(local), traces)
    yield from _message_ids()
    for name, text, *traces in _IN_TEXT:
        yield Form(f"text, {name}", text, (text, *traces), identifies=False)


def _message_ids() -> Iterator[Form]:
    for number, name in enumerate(("plain", "inside an id")):
        held = base64.b64encode(f"91987654399{number}zq".encode()).decode()
        text = f"wamid.HBgM{held}AgARGBI="
        yield Form(f"message id, {name}", text if number == 0 else f"msg:{text}", (held, text))


#: What is looked for in free text, unknown properties and rejected inputs only.
_IN_TEXT: tuple[tuple[str, ...], ...] = (
    ("a number in groups", "(555) 123-4501"),
    ("a local number", "98765 44001", "9876544001"),
    ("a local number with a dash", "98765-44002", "9876544002"),
    ("a number with zeros", "0091 98765 44003", "9876544003"),
    ("a number that is called", "call 9876544004", "9876544004"),
    ("a link to a chat", "https://wa.me/919876544005", "9876544005"),
    ("a card", "4111 1111 1111 1111", "4111111111111111"),
    ("a card with dashes", "5500-0000-0000-0004", "5500000000000004"),
    ("a card without gaps", "4012888888881881"),
    ("a card with no-break spaces", "4222\u00a02222\u00a02222\u00a02220"),
    ("a card in arabic digits", _digits("\u0660")("4000056655665556")),
    ("a card of fifteen digits", "3782 822463 10005"),
    ("a card of UnionPay", "6212 3456 7890 0000 003", "6212345678900000003"),
    ("a card of Maestro", "6759 6498 2643 8453", "6759649826438453"),
    ("a card of Maestro that begins with five", "5018000000000009"),
    ("an IBAN", "DE89 3704 0044 0532 0130 00", "DE89370400440532013000"),
    ("an IBAN without gaps", "gb33bukb20201555555555"),
    ("an IBAN with dashes", "FR14-2004-1010-0505-0001-3M02-606"),
    ("an IPv4 address", "203.0.113.77"),
    ("an IPv4 address with a port", "198.51.100.23:8443", "198.51.100.23"),
    ("an IPv6 address", "2001:db8:77::42"),
    ("an IPv6 address in full", "2001:0db8:0000:0000:0000:ff00:0042:8329"),
    ("a mapped address", "::ffff:192.0.2.129", "192.0.2.129"),
    ("an address in words", "zqwords [at] example [dot] com", "zqwords"),
    ("an address in entities", "zqentity&#64;example.com", "zqentity"),
)

FORMS: tuple[Form, ...] = tuple(_forms())
IDENTIFYING: tuple[Form, ...] = tuple(form for form in FORMS if form.identifies)

#: Addresses of pages, and what of them may be found nowhere.
PAGES: tuple[tuple[str, str], ...] = (
    ("https://zqpage1%40example.com:pw@shop.example/a", "zqpage1"),
    ("https://shop.example/u/zqpage2@example.com/cart", "zqpage2"),
    ("https://shop.example/?mail=zqpage3%40example.com&x=1", "zqpage3"),
    ("https://shop.example/?next=%2Fu%3Fm%3Dzqpage4%2540example.com", "zqpage4"),
    ("https://shop.example/?m=zqpage5%252540example.com", "zqpage5"),
    ("https://shop.example/?p=+91 98765 45001", "98765 45001"),
    ("https://shop.example/?p=%2B919876545002", "9876545002"),
    ("https://shop.example/?p=%252B91%252098765%252045003", "98765%252045003"),
    ("https://api.whatsapp.com/send?phone=919876545004&text=x", "9876545004"),
    ("https://wa.me/919876545005", "9876545005"),
    ("https://shop.example/?cell=9876545009&contactNo=9876545009", "9876545009"),
    ("https://shop.example/#tel:+919876545006", "9876545006"),
    ("mailto:zqpage6@example.com", "zqpage6"),
    ("https://shop.example/?from=203.0.113.78", "203.0.113.78"),
    ("https://shop.example/?from=2001:db8:78::1", "2001:db8:78::1"),
    ("https://shop.example/?from=203%2E0%2E113%2E80", "203%2E0%2E113%2E80"),
    ("https://shop.example/m/wamid.HBgMOTE5ODc2NTQ1MDA3", "OTE5ODc2NTQ1MDA3"),
    ("//shop.example/path;user=zqpage7@example.com", "zqpage7"),
    ("https://shop.example/+91/98765/45008", "98765/45008"),
    ("https://shop.example/?iban=DE02120300000000202051", "DE02120300000000202051"),
)

#: Names of files that say who somebody is.
FILE_NAMES = {"number": "chat +91 98765 46001", "address": "zqfile@example.com"}


def traces() -> dict[str, str]:
    """Everything that may be found nowhere -> what it is a trace of."""
    found = {trace: form.name for form in FORMS for trace in form.traces}
    found |= {trace: page for page, trace in PAGES}
    found |= {"98765 46001": "file name", "zqfile": "file name"}
    found |= {SAID: "message", NAMED: "name", "Zqstreet": "street", "Zqagent": "user agent"}
    found |= dict.fromkeys(_CALLED, "number under a key that tells")
    found |= {"98765470": "adapters", "zqadapter": "adapters", "203.0.113.79": "ip"}
    return found


def _id(*parts: Any) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(parts)))


def _plain(field: Field) -> Any:
    """A value that a contract takes."""
    if field.enum:
        return field.enum[0]
    if field.format == "iso-4217":
        return currency_codes()[0]
    if field.format == "iso-3166-alpha-2":
        return "IN"
    values = {"integer": 50, "number": 1.0, "boolean": True, "array": ["x"], "object": {"x": 1},
              "timestamp": f"{DATES[0]}T10:00:00Z", "date": DATES[0]}  # fmt: skip
    return values.get(field.type, "plain")


def _is_free(field: Field) -> bool:
    return (
        field.type == "string"
        and not field.enum
        and field.format is None
        and not field.name.endswith("_hash")
        and field.name not in ("event_id", "event_name", "ip", "user_agent", "status")
    )


def valid_event(event: Event, plant: Callable[[Field], Any], number: int) -> Row:
    """An event of a contract with ``plant`` of each field that takes any text (None: left out)."""
    contracts = registry()
    row: Row = {
        "event_id": _id(event.name, number),
        "event_name": event.name,
        "occurred_at": f"{DATES[number % 3]}T{number % 24:02d}:{number % 60:02d}:00Z",
    }
    context, properties = {}, {}
    for name, field in contracts.envelope.items():
        if name not in row and name not in ("context", "properties"):
            value = plant(field)
            if value is None and name in event.required:
                value = event.status[0] if name == "status" and event.status else _plain(field)
            row |= {name: value} if value is not None else {}
    for name, field in contracts.context.items():
        value = plant(field)
        context |= {name: value} if value is not None else {}
    for name, field in event.properties.items():
        value = plant(field)
        if value is None and field.required:
            value = _plain(field)
        properties |= {name: value} if value is not None else {}
    if "entity_id" in row and "entity_type" not in row and event.entity_type is None:
        row["entity_type"] = "thing"
    return row | {"context": context, "properties": properties}


def in_every_field(rounds: int = 3) -> Iterator[Row]:
    """Every event of the contracts, each field that takes any text with a form in it."""
    place = 0
    for number in range(rounds):
        for event in registry().events.values():

            def plant(field: Field) -> Any:
                nonlocal place
                if _is_free(field):
                    place += 1
                    return IDENTIFYING[place % len(IDENTIFYING)].text
                if field.type == "text":
                    place += 1
                    return f"please {FORMS[place % len(FORMS)].text} thanks"
                if field.format == "url":
                    place += 1
                    return PAGES[place % len(PAGES)][0]
                return None

            yield valid_event(event, plant, number)


def planted_fields(rows: Sequence[Row]) -> set[str]:
    """Names of the fields that hold a form."""
    return {
        name
        for row in rows
        for values in (row, row["context"], row["properties"])
        for name, value in values.items()
        if isinstance(value, str)
    }


def _payment(number: int, **changes: Any) -> Row:
    return {
        "event_id": _id("payment", number), "event_name": "payment_succeeded",
        "occurred_at": f"{DATES[number % 3]}T12:00:00Z", "entity_id": f"p{number}",
        "provider": "stripe", "amount_cents": 100, "currency": "EUR", **changes,
    }  # fmt: skip


def in_text() -> Iterator[Row]:
    """Each form in free text, lists, unknown properties, their names and depths."""
    for number, form in enumerate(FORMS):
        yield {"event_id": _id("error", number), "event_name": "error_raised",
               "occurred_at": f"{DATES[number % 3]}T11:00:00Z",
               "properties": {"error_message": f"failed for {form.text} at once"}}  # fmt: skip
        yield {"event_id": _id("tags", number), "event_name": "conversation_recorded",
               "occurred_at": f"{DATES[number % 3]}T13:00:00Z", "entity_id": f"c{number}",
               "agent_id": "agent-1", "user_id": "u1", "channel": "web",
               "properties": {"start_time": f"{DATES[0]}T10:00:00Z", "tags": [form.text],
                              "emotions": [f"about {form.text}"]}}  # fmt: skip
        yield _payment(number, note=f"see {form.text}", whole=form.text, properties={
            "order_id": "o1", "deep": {"list": [form.text, {"x": f"a {form.text} b"}]},
            "keyed": {form.text: 1}, form.text: "a name", "firstName": NAMED,
            "shipping_address": {"street": "Zqstreet 1"}, "ip": "203.0.113.79",
            "fullname": NAMED, "customerFullName": NAMED, "address": "Zqstreet 2",
            "deep_agent": [{"User-Agent": AGENT}], **CALLED,
        }, address={"line1": "Zqstreet 3"}, device={"userAgent": AGENT, "model": "x"},
           tel={"number": "9876548010"})  # fmt: skip
    for number, (page, _) in enumerate(PAGES):
        yield {"event_id": _id("page", number), "event_name": "page_viewed",
               "occurred_at": f"{DATES[number % 3]}T14:00:00Z", "anonymous_id": f"d{number}",
               "context": {"page_url": page, "referrer": page, "ip": "203.0.113.79"}}  # fmt: skip
    for number, key in enumerate(("text", "body", "caption")):
        yield {"event_id": _id("said", number), "event_name": "message_received",
               "occurred_at": f"{DATES[number % 3]}T15:00:00Z", "entity_id": f"m{number}",
               "user_id": "u1", key: SAID,
               "properties": {"chat_id": "chat", key: SAID, "inner": {key: SAID}}}  # fmt: skip


def rejected_lines() -> Iterator[bytes]:
    """Lines that are rejected, for every reason that keeps something of them."""
    for number, form in enumerate(FORMS):
        known = form.text if form.identifies else "u1"
        yield json.dumps(_payment(1000 + number, user_id=known, amount_cents="x", currency=form.text,
                                  properties={"order_id": known, "note": f"see {form.text}"},
                                  context={"ip": "203.0.113.79", "user_agent": "zqmail00@example.com"},
                                  address={"line1": "Zqstreet 1"}, called=CALLED)).encode()  # fmt: skip
        yield json.dumps(
            {"event_name": form.text, "properties": {"text": SAID, form.text: form.text}},
            ensure_ascii=False,
        ).encode()
        yield (
            b'{"event_name": "message_received", "user_id": '
            + json.dumps(form.text).encode()
            + (b', "properties": {"chat_id": "c", "text": "' + SAID.encode())
        )
    said = json.dumps(SAID).encode()
    yield b'{"event_name": "x", "pad": "' + b"x" * 300_000 + b'", "text": ' + said + b"}"
    address = json.dumps("zqmail99 and zqmail00@example.com " * 9000).encode()
    yield b'{"event_name": "x", "text": ' + address + b"}"
    yield b'{"a":' * 20 + b'"zqmail00@example.com +919876543000"' + b"}" * 20
    yield b'{"user_id": "zqmail00@example.com", "x": "\xff 98765 44001"}'
    yield b'{"user_id": "zqmail00@example.com\\u0000 +919876543000"}'
    yield b'{"user_id": "zqmail\\u000000@exa\\u0000mple.com", "text": ["my private\\u0000 words"]}'
    yield b'{"customerPhone": "9876548003", "full-name": "' + NAMED.encode() + b'", "x": }'
    yield b'{"a":' * 300 + b'["zqmail00@example.com"]' + b"}" * 300
    yield json.dumps([{"text": SAID, "phone": "9876548000"}]).encode()
    yield b"just +91 98765 43001 and zqmail01@example.com"
    yield b'["+919876543000", {"zqmail02@example.com": "203.0.113.77"}]'


def documents() -> dict[str, list[Row]]:
    """Foreign documents by format, good ones and bad ones."""
    number, plus, mail = "919876547001", "+919876547002", "zqadapter@example.com"
    held = "wamid." + base64.b64encode(b"919876547001zq").decode()
    person = {"name": NAMED, "email": mail, "phone": plus, "address": {"line1": "Zqstreet 1"}}

    def whatsapp(value: Row) -> Row:
        return {"object": "whatsapp_business_account", "entry": [
            {"id": "1", "changes": [{"field": "messages", "value": value}]}]}  # fmt: skip

    message = {"from": number, "id": held, "timestamp": "1772359200", "type": "text",
               "text": {"body": SAID}}  # fmt: skip
    contacts = [{"wa_id": number, "profile": {"name": NAMED}}]
    status = {"id": held, "status": "failed", "timestamp": "1772359300", "recipient_id": number,
              "errors": [{"code": 1, "title": f"no {plus} {mail}"}]}  # fmt: skip
    intent = {"id": "pi_1", "object": "payment_intent", "amount": 100, "currency": "eur",
              "customer": mail, "receipt_email": mail, "billing_details": person,
              "metadata": {"user_id": plus, "order_id": f"for {mail}"}}  # fmt: skip
    stripe = {"id": "evt_1", "object": "event", "type": "payment_intent.created",
              "created": 1772359200, "data": {"object": intent}}  # fmt: skip
    sms = {"MessageSid": "SM1", "MessageStatus": "received", "From": plus, "To": f"+{number}",
           "Body": SAID, "ProfileName": NAMED, "Timestamp": "2026-03-01T10:00:00Z"}  # fmt: skip
    crm = {"id": "evt1", "event": "message.received", "timestamp": "2026-03-01T10:00:00Z",
           "data": {"message_id": f"true_{number}@c.us_3EB0", "contact": person, "text": SAID,
                    "chat_id": f"{number}@c.us", "agent_id": plus}}  # fmt: skip
    talk = {"conversationId": "cv1", "agentId": mail, "customerPhone": plus, "channel": "web",
            "startTime": "2026-03-01T10:00:00Z", "customerName": NAMED, "tags": [plus, mail],
            "messages": [{"text": SAID}], "escalation": {"reason": f"call {plus}"}}  # fmt: skip
    return {
        "whatsapp_cloud": [
            whatsapp({"messages": [message], "contacts": contacts}),
            whatsapp({"statuses": [status]}),
            whatsapp({"messages": [{**message, "timestamp": plus, "id": mail}]}),
        ],
        "stripe": [stripe, {**stripe, "id": mail, "created": plus}],
        "twilio": [sms, {**sms, "MessageSid": "SM2", "Timestamp": mail}],
        "crm": [crm, {**crm, "id": "evt2", "timestamp": plus}],
        "conversation_insight": [talk, {**talk, "startTime": mail, "conversationId": plus}],
    }


def ordinary_ids() -> list[str]:
    """Ten thousand values of identifiers of many shapes that are nobody's."""
    shapes: tuple[Callable[[int], str], ...] = (
        lambda n: str(uuid.UUID(int=n * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 2**128)),
        lambda n: f"ORD-2026-{n:06d}",
        lambda n: str(919876000000 + n * 7919),
        lambda n: str(4111111111110000 + n),
        lambda n: f"{n % 12}.{n % 40}.{n % 90}",
        lambda n: f"v1.{n % 40}.0+2026{n % 12 + 1:02d}{n % 28 + 1:02d}",
        lambda n: f"2026-03-{n % 28 + 1:02d}T10:{n % 60:02d}:00+05:30",
        lambda n: f"{n * 2654435761 % 2**32:08x}" * 5,
        lambda n: f"sha256:{n * 2654435761 % 2**32:08x}{'0af9' * 14}",
        lambda n: f"01ARZ3NDEKTSV4RRFFQ69G{n:04d}",
        lambda n: f"SKU+{n:07d}/BLK",
        lambda n: f"summer+sale+{n}",
        lambda n: f"{n}.{n * 37 % 1000:03d}",
        lambda n: f"+{n % 10_000_000}",
        lambda n: f"user@{n}",
        lambda n: f"@handle{n}",
        lambda n: f"a+b+{n}",
        lambda n: f"50%25 off {n}",
        lambda n: f"{n}@2x",
        lambda n: f"image-{n}@2x.png",
        lambda n: f"pi_3{n:05d}MtwBwLkdIwHu7ix28a3tqPa",
        lambda n: f"GA1.2.{1000000000 + n}.{1772359200 + n}",
        lambda n: f"1e+{n % 300}",
        lambda n: f"C++ {n}",
        lambda n: f"\u0928\u092e\u0938\u094d\u0924\u0947-{n}",
    )
    return [shape(n) for n in range(400) for shape in shapes]
