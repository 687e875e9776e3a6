"""Redaction: what of free text, addresses of pages and whole JSON values may be kept.

Belongs here: finding personal data inside a longer value, and what stands in its place. Values that
identify as a whole are hashed in ``ingest.privacy``.
"""

from __future__ import annotations

import html
import ipaddress
import re
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ingest.privacy import IMAGE_NAME, Pseudonyms, decoded, embedded_addresses

#: How a text looks that is worth a look in Python, as a regular expression of RE2.
TEXT_MARKS = (
    r"(?s)[@:\x{FF0B}\x{FF20}\x{FE6B}]|%(25)*(40|2[Bb])|&[#c]|wamid[.]|[\[(][aA][tT][\])]"
    r"|[\p{Nd}].*[\p{Nd}].*[\p{Nd}].*[\p{Nd}]"
)

#: Words by which a key, or a parameter of an address, says that its value is a phone number.
_PHONE_WORDS = (
    "cell(?:phone)?|contact_?n(?:o|umber)|fax|mobile|msisdn|phone|tel|telephone|wa_?id|whatsapp"
)

#: The same of the address of a page.
URL_MARKS = (
    rf"(?i)[@+%]|wa\.me/|(mail|{_PHONE_WORDS})[^/&=]*=|wamid[.]"
    r"|[0-9]{1,3}([.][0-9]{1,3}){3}|[0-9A-F]*:[0-9A-F]*:|[^\x00-\x7F]|[0-9A-Z]{13}"
)

_OF_PERSONS = ("first_name", "last_name", "full_name", "given_name", "family_name", "middle_name",
               "surname", "address", "street", "street_address", "postal_address")  # fmt: skip
_PERSONS = ("client", "contact", "customer", "profile", "recipient", "sender", "user")

#: Names of fields whose values are personal whatever they look like.
PERSONAL_KEYS = frozenset(
    {"ip", "ip_address", "client_ip", "remote_addr", "remote_address", "x_forwarded_for",
     "client_name", "customer_name", "contact_name", "profile_name", "recipient_name",
     "sender_name", "home_address", "billing_address", "shipping_address", "delivery_address",
     "mailing_address", "address_line", "address_line_1", "address_line_2", "address_1",
     "address_2", "date_of_birth", "birth_date", "passport_number", *_OF_PERSONS,
     *(f"{person}_{name}" for person in _PERSONS for name in _OF_PERSONS)}
)  # fmt: skip
#: Names of fields that hold the text of a message where the event is one.
MESSAGE_KEYS = frozenset({"text", "body", "message_text", "caption", "message_body"})
PERSONAL_OR_MESSAGE_KEYS = PERSONAL_KEYS | MESSAGE_KEYS
#: Names of fields that hold what a browser says of itself, which is parsed and never stored.
USER_AGENT_KEYS = frozenset({"user_agent", "http_user_agent"})
REMOVED = "[removed]"

#: What is longer is no name of a field.
_LONGEST_KEY = 64
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_BETWEEN_WORDS = re.compile(r"[\s_.\-]+")
_REMOVED_VALUE = re.compile(
    rf'("(?:{"|".join(sorted(PERSONAL_OR_MESSAGE_KEYS))})"\s*:\s*")'.replace("_", "[_. -]?")
    + r'(?:[^"\\]|\\.)*',
    re.IGNORECASE | re.DOTALL,
)

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
#: Ids that machines make, in which digits happen to stand as in a number of somebody.
_MACHINE_ID = re.compile(
    rf"(?<![^\W_])(?:{_UUID}|[0-9a-f]{{32,}})(?![^\W_])", re.ASCII | re.IGNORECASE
)
_DIALLED = re.compile(r"\+[\s\-._()/\d]*\Z")
#: Characters before an id that can make its digits a number; a number is shorter.
_DIALLED_BEFORE = 64

#: A key whose value is a phone number, also as a word in a text. What may stand in front of it is
#: bounded, so that a text without end is read in one pass.
_PHONE_KEY = (
    r"(?:[a-z0-9]{1,20}_|(?-i:[A-Z]?[a-z0-9]{1,20}(?=[A-Z]))){0,4}"
    rf"(?:{_PHONE_WORDS})s?(?:_?(?:no|num|number)s?)?(?:_?(?:home|mobile|office|private|work))?"
    r"(?:_?\d)?"
)
_PHONE_KEYS = re.compile(_PHONE_KEY, re.IGNORECASE)

#: The user (and password) that an address of a page may name in front of its host.
_URL_USER = re.compile(r"^(\s*(?:[a-z][a-z0-9+.\-]*:)?[/\\]{2})[^/?#\\]*@", re.IGNORECASE)
_URL_PIECE = re.compile(r"[^/?&=#;]+")
_URL_PERSONAL = re.compile(
    rf"(?i)(wa\.me/|[?&#;]{_PHONE_KEY}=)(?:%20|[ +])*(?!{_UUID})\d(?:[\s.\-]?\d){{7,14}}(?!\d)"
)

_TOP = r"(?:xn--[a-z0-9\-]+|[^\W\d_]{2,})"
_DOMAIN = rf"@(?:[\w\-]+(?:\.[\w\-]+)*\.{_TOP}|\[[0-9a-fA-F:.]+\])"
_EMAIL_DOMAIN = re.compile(_DOMAIN, re.IGNORECASE)
_EMAIL_SIGN = re.compile(r"[\w.%+'!#$*^~\-]")
_QUOTED_EMAIL = re.compile(rf"\"[^\"\n@]{{1,64}}\"{_DOMAIN}", re.IGNORECASE)
#: An address with a person's name before it.
_NAMED_EMAIL = re.compile(
    r"(?:\"[^\"\n@]{1,80}\"\s*|(?:[^\W\da-z_][\w'.\-]{0,60}\s{1,9}){1,4})<[^<>@\s]+@[^<>\s]+>"
)
_WRITTEN_AT = re.compile(r"(?:(?<!\s)\s+)?[\[(]\s*at\s*[\])]\s*", re.IGNORECASE)
_WRITTEN_DOT = re.compile(r"(?:(?<!\s)\s+)?[\[(]\s*dot\s*[\])]\s*", re.IGNORECASE)
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
_MESSAGE_ID = re.compile(r"wamid\.[A-Za-z0-9+/=_\-]+")
_PHONE = re.compile(
    r"(?<!\d)\+[\s\-._()/]*\d(?:[\s\-._()/]{0,3}\d){7,14}(?!\d)"
    r"|(?<![\w.])00[1-9](?:[\s\-._()/]{0,3}\d){7,14}(?!\d)"
    r"|(?<![\w.\-])\(?\d{3}\)?[\s.\-]\d{3}[\s.\-]\d{4}(?![\w\-])"
    r"|(?<![\w.\-])[6-9]\d{4}[\s\-]\d{5}(?![\w\-])"
)
_PLUS_PHONE = re.compile(r"(?<!\d)\+[\s\-._()/]*\d(?:[\s\-._()/]{0,3}\d){7,14}(?!\d)")
_CALLED = re.compile(
    rf"(\b(?:call|mob|ph|wa\.me|{_PHONE_KEY})\b[\s.:#=/\"'\\\-]{{0,6}})"
    r"\d(?:[\s.\-]?\d){7,14}(?![\w])",
    re.IGNORECASE,
)
#: A number of any kind, where its key says that it is one that is called.
_BARE_PHONE = re.compile(r"(?<![^\W_])\d(?:[\s\-._()/]{0,3}\d){7,14}(?![^\W_])")
_CARD = re.compile(r"(?<![\d.])\d(?:[ \-]?\d){12,18}(?!\d)|(?<![\w.])\d{4}(?:\.\d{4}){3}(?!\d)")
_IBAN = re.compile(r"(?<![^\W_])[A-Za-z]{2}\d{2}(?:[ \-]?[A-Za-z0-9]){11,30}")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:)[0-9A-Fa-f:]{2,}[0-9A-Fa-f:.]*")

#: Length of an IBAN by country (ISO 13616 registry).
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22,
    "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28,
    "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23,
    "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20,
    "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30,
    "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22,
    "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28,
    "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip

#: Payment card numbers by issuer range and length, so that ordinary long ids are left alone. The
#: ranges 50, 56 to 59 and 6 are those of Maestro, UnionPay, Discover and RuPay, of any length.
_CARD_RANGES = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}|(?:5[06-9]|6\d)\d{11,17}|3(?:0[0-5]|[68]\d)\d{11}"
    r"|35(?:2[89]|[3-8]\d)\d{12}|(?:81\d{2}|82\d{2}|353\d|356\d)\d{12}"
)


_AT_SIGNS = "\uff20\ufe6b"
_PLUS_SIGNS = "\uff0b\ufe62\u207a\u208a\u2795"


def _folded_sign(sign: str) -> str:
    if sign.isascii():
        return sign
    if sign.isdigit():
        return str(unicodedata.digit(sign))
    kind = unicodedata.category(sign)
    if kind == "Cf":
        return ""
    if kind == "Zs":
        return " "
    if kind == "Pd" or sign == "−":
        return "-"
    if sign in _AT_SIGNS:
        return "@"
    if sign in _PLUS_SIGNS:
        return "+"
    # Full-width letters and signs, the dots of other scripts.
    return unicodedata.normalize("NFKC", sign) if "\uff01" <= sign <= "\uff5e" else sign


def _folded(text: str) -> str:
    """Write a text in the signs that the patterns know; what it says stays the same."""
    if not text.isascii():
        text = "".join(map(_folded_sign, text))
    if "&" in text:
        text = html.unescape(text)
    if "%" in text:
        text = decoded(text)
    lowered = text.lower()
    if "[at]" in lowered or "(at)" in lowered:
        text = _WRITTEN_DOT.sub(".", _WRITTEN_AT.sub("@", text))
    return text


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (1 + place % 2)
        total += number - 9 * (number > 9)
    return total % 10 == 0


def _card(match: re.Match[str]) -> str:
    digits = re.sub(r"\D", "", match.group())
    return "[card]" if _CARD_RANGES.fullmatch(digits) and _luhn(digits) else match.group()


def _iban(match: re.Match[str]) -> str:
    text = match.group()
    length = _IBAN_LENGTHS.get(text[:2].upper())
    if length is None:
        return text
    compact, end = "", 0
    for end, character in enumerate(text, start=1):  # noqa: B007 - the end is used below
        compact += character.upper() if character not in " -" else ""
        if len(compact) == length:
            break
    if len(compact) != length:
        return text
    number = "".join(str(int(c, 36)) for c in compact[4:] + compact[:4])
    return "[iban]" + text[end:] if int(number) % 97 == 1 else text


def _address(match: re.Match[str]) -> str:
    text = match.group().rstrip(".:") if not match.group().endswith("::") else match.group()
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return match.group()
    return "[ip]" + match.group()[len(text) :]


def _quoted_email(match: re.Match[str]) -> str:
    return match.group() if IMAGE_NAME.search(match.group()) else "[email]"


def _without_emails(text: str) -> str:
    text = _QUOTED_EMAIL.sub(_quoted_email, text)
    parts: list[str] = []
    free = 0
    for begin, end in embedded_addresses(text, domain=_EMAIL_DOMAIN, local_sign=_EMAIL_SIGN):
        if not IMAGE_NAME.search(text, begin, end):
            parts += text[free:begin], "[email]"
            free = end
    return "".join((*parts, text[free:]))


def _without_numbers(text: str, *, local: bool, phone: bool) -> str:
    text = _IBAN.sub(_iban, text)
    text = _CARD.sub(_card, text)
    text = _IPV4.sub(_address, text)
    text = _IPV6.sub(_address, text)
    text = (_PHONE if local else _PLUS_PHONE).sub("[phone]", text)
    text = _CALLED.sub(r"\1[phone]", text)
    return _BARE_PHONE.sub("[phone]", text) if phone else text


def redact(text: str, *, local: bool = True, phone: bool = False) -> str:
    """Replace phone numbers, e-mail, card, IBAN numbers and IP addresses in free text.

    A text without any is returned as it is, sign by sign; so are UUIDs and hashes in it.
    ``local``: also numbers that only their groups of digits tell. ``phone``: the text stands where
    a phone number is due, so that any 8 to 15 digits are one.
    """
    folded = found = _folded(text)
    if "@" in found:
        found = _NAMED_EMAIL.sub("[email]", found)
        found = _without_emails(found)
    if "wamid." in found:
        found = _MESSAGE_ID.sub("[message]", found)
    if sum(map(str.isdigit, found)) >= 4 or "::" in found:
        parts, start = [], 0
        for match in _MACHINE_ID.finditer(found):
            begin, end = match.span()
            if _DIALLED.search(found, max(start, begin - _DIALLED_BEFORE), begin):
                continue
            parts.append(_without_numbers(found[start:begin], local=local, phone=phone))
            parts.append(match.group())
            start = end
        parts.append(_without_numbers(found[start:], local=local, phone=phone))
        found = "".join(parts)
    elif ":" in found:
        found = _IPV6.sub(_address, found)
    return text if found == folded else found


def redact_name(name: str) -> str:
    """Replace e-mail addresses, phone numbers with a plus sign and message ids in a name."""
    folded = _folded(name)
    found = _MESSAGE_ID.sub("[message]", _without_emails(folded))
    found = _PLUS_PHONE.sub("[phone]", found)
    return name if found == folded else found


def readable_name(path: Path) -> str:
    """Return the name of a file as it is noted: without who it is about, in signs that print."""
    return redact_name(path.name.encode("utf-8", "replace").decode())


def redact_escaped(text: str) -> str:
    """Redact what was to be JSON and is none.

    Escapes are taken for the signs they stand for; message texts, and what else is removed from
    JSON by its name, are removed too.
    """
    return redact(_REMOVED_VALUE.sub(rf"\1{REMOVED}", _ESCAPED.sub(_unescaped, text)))


def _unescaped(match: re.Match[str]) -> str:
    sign = chr(int(match[1], 16))
    return match.group() if sign in '"\\\0' or "\ud800" <= sign <= "\udfff" else sign


def _url_piece(match: re.Match[str]) -> str:
    text = decoded(match.group())
    found = redact(text, local=False)
    return match.group() if found == text else quote(found, safe="[]:,()!*'+@ ")


def redact_url(url: str) -> str:
    """Replace what is personal inside an address of a page; its host is kept.

    The user in front of the host is taken out first: `ann:pw@example.com` would be taken for an
    e-mail address, and the host be lost with it.
    """
    found = _URL_PERSONAL.sub(r"\1[phone]", _URL_USER.sub(r"\1", url))
    start = re.match(r"\s*(?:[a-z][a-z0-9+.\-]*:)?[/\\]{2}[^/?#\\]*", found, re.IGNORECASE)
    host = start.group() if start else ""
    rest = found[len(host) :]
    if "%" in host and "@" in decoded(host):
        # The sign in front of a host, escaped: the host is part of an address.
        host = redact_name(decoded(host))
    found = host + rest
    found = host + _URL_PIECE.sub(_url_piece, found[len(host) :])
    # A number may be spread over the parts of a path, and an address over those of a query.
    whole = decoded(found[len(host) :])
    if "@" in whole or "+" in whole:
        hidden = redact_name(whole)
        return found if hidden == whole else host + hidden
    return found


def is_named(key: str, names: frozenset[str]) -> bool:
    """Tell whether a key is one of some names in snake case, in any spelling."""
    return len(key) <= _LONGEST_KEY and _is_named(key, names)


@lru_cache(maxsize=4096)
def _is_named(key: str, names: frozenset[str]) -> bool:
    return _BETWEEN_WORDS.sub("", key).lower() in _run_together(names)


@lru_cache(maxsize=16)
def _run_together(names: frozenset[str]) -> frozenset[str]:
    return frozenset(name.replace("_", "") for name in names)


def _in_snake_case(key: str) -> str:
    return _BETWEEN_WORDS.sub("_", _HUMP.sub("_", key)).strip("_").lower()


def is_hash_key(key: str) -> bool:
    """Tell whether a key says, in any spelling, that its value is a hash."""
    return len(key) <= _LONGEST_KEY and _in_snake_case(key).endswith("_hash")


def is_phone_key(key: str) -> bool:
    """Tell whether a key says that its value is a phone number, with or without a plus sign."""
    return len(key) <= _LONGEST_KEY and _is_phone_key(key)


@lru_cache(maxsize=4096)
def _is_phone_key(key: str) -> bool:
    return _PHONE_KEYS.fullmatch(_in_snake_case(key)) is not None


def inner_key(outer: str, key: str) -> str:
    """Return the name of a field of an object that stands under a key.

    It is that of the field, but ``phone_number`` where only both say so: ``{"phone": {"number":
    ...}}``.
    """
    both = f"{outer}_{key}"
    return both if is_phone_key(both) and not is_phone_key(key) else key


def user_agent_in(value: Any) -> str | None:
    """Return the first user agent in a JSON value, at any depth; None where there is none."""
    if isinstance(value, dict):
        for key, item in value.items():
            if is_named(key, USER_AGENT_KEYS) and isinstance(item, str) and item.strip():
                return item
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((agent for agent in map(user_agent_in, inner) if agent is not None), None)


def redact_tree(
    value: Any,
    pseudonyms: Pseudonyms,
    *,
    removed: frozenset[str] = PERSONAL_KEYS,
    key: str = "",
) -> Any:
    """Redact a JSON value at any depth, its keys included.

    A string that as a whole is an identifier becomes its keyed hash, so that it still joins;
    any other string is redacted as text; a number that is a card number is replaced, and so is one
    of 8 to 15 digits whose key says that it is called; values of fields whose names are among
    ``removed`` are removed, user agents are left out. ``key`` is the one that the value stands
    under.
    """
    if isinstance(value, dict):
        return {
            redact(k): REMOVED
            if is_named(k, removed)
            else redact_tree(v, pseudonyms, removed=removed, key=inner_key(key, k))
            for k, v in value.items()
            if not is_named(k, USER_AGENT_KEYS)
        }
    if isinstance(value, list):
        return [redact_tree(item, pseudonyms, removed=removed, key=key) for item in value]
    phone = is_phone_key(key)
    if isinstance(value, str):
        return pseudonyms.whole(value) or redact(value, phone=phone)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return value
    if abs(value) < (10**7 if phone else 10**12):
        return value
    text = str(abs(value)).removesuffix(".0")
    return value if redact(text, phone=phone) == text else redact(text, phone=phone)
