"""Privacy at the door: what a person could be recognised by never reaches a table.

Identifiers become keyed hashes (so that joins still work), free text is redacted. Which fields
are identifiers or text is said by the contracts; where the functions are applied is the matter
of ``ingest.validation`` and ``ingest.shape``.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import unicodedata
from functools import lru_cache
from typing import Any

from ingest.settings import HashKey

#: SQL that tells cheaply whether a line can hold an identifier that must be hashed.
SUSPICIOUS_MARKS = ("@", "+", "wamid.", "\\u", "%40", "%2B", "%2b", "\uff0b", "\ufe62", "\uff20")

_SCHEME = re.compile(r"^(?:tel|sms|whatsapp|mailto)\s*:\s*", re.IGNORECASE)
_PHONE = re.compile(r"\+[\s\-‐-―.()/·\u2060]*\d(?:[\s\-‐-―.()/·\u2060]*\d){7,14}")
_EMAIL = re.compile(r"[^\s@<>\",;:]+@[^\s@<>\",;:]+\.[^\W\d_]{2,}")

#: The user (and password) that an address of a page may name in front of its host.
_URL_USER = re.compile(r"^(\s*(?:[a-z][a-z0-9+.\-]*:)?[/\\]{2})[^/?#\\]*@", re.IGNORECASE)

_TEXT_EMAIL = re.compile(r"[\w.%+'\-]+@[\w\-]+(?:\.[\w\-]+)*\.[^\W\d_]{2,}")
_TEXT_PHONE = re.compile(
    r"(?<![\w.])(?:\+[\s\-.()/]*|00)\d(?:[\s\-‐-―.()/]{0,3}\d){7,14}(?!\d)"
    r"|(?<![\w.\-])\(?\d{3}\)?[\s.\-]\d{3}[\s.\-]\d{4}(?![\w\-])"
    r"|(?<![\w.\-])[6-9]\d{4}[\s\-]\d{5}(?![\w\-])"
)
_TEXT_CARD = re.compile(r"(?<![\w.])\d(?:[ \-]?\d){12,18}(?![\w])")
_TEXT_IBAN = re.compile(r"(?<!\w)[A-Za-z]{2}\d{2}(?:[ \-]?[A-Za-z0-9]){11,30}")
_TEXT_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)")
_TEXT_IPV6 = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:)[0-9A-Fa-f:]{2,}[0-9A-Fa-f:.]*"
)

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

#: Payment card numbers by issuer range and length, so that ordinary long ids are left alone.
_CARD_RANGES = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)\d{12}"
    r"|3[47]\d{13}|(?:6011|65\d{2}|64[4-9]\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}"
    r"|35(?:2[89]|[3-8]\d)\d{12}|(?:508[5-9]|60[68]\d|81\d{2}|82\d{2}|353\d|356\d)\d{12}"
)


def _plain(value: str) -> str:
    """Fold the spellings of other scripts: full-width signs, Arabic or Devanagari digits."""
    text = unicodedata.normalize("NFKC", value).strip()
    if text.isascii():
        return text
    return "".join(
        str(unicodedata.digit(c)) if c.isdigit() and not c.isascii() else c for c in text
        if unicodedata.category(c) != "Cf"
    )  # fmt: skip


def identifying(value: str) -> str | None:
    """Return the normal form of a value that is a phone number, an e-mail address or a message id.

    ``+`` and digits for a phone number, lower case for an address, a WhatsApp message id as it
    is; None for any other value.
    """
    if value.startswith("wamid."):
        return value
    text = _SCHEME.sub("", _plain(value))
    if "@" in text:
        return text.lower() if _EMAIL.fullmatch(text) else None
    if text.startswith("+") and _PHONE.fullmatch(text):
        return "+" + "".join(c for c in text if c.isdigit())
    return None


class Pseudonyms:
    """Keyed hashes of identifying values under one key: HMAC-SHA256, written ``version:hex``."""

    def __init__(self, key: HashKey) -> None:
        """Bind the key that writes."""
        self._key = key
        self._cached = lru_cache(maxsize=1 << 17)(self._compute)

    def digest(self, normal_form: str) -> str:
        """Hash the normal form of an identifying value."""
        mac = hmac.digest(self._key.secret, normal_form.encode(), "sha256").hex()
        return f"{self._key.version}:{mac}"

    def _compute(self, value: str) -> str:
        normal_form = identifying(value)
        return value if normal_form is None else self.digest(normal_form)

    def of(self, value: str) -> str:
        """Return the hash of an identifying value, any other value as it is."""
        return self._cached(value)


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


def redact(text: str) -> str:
    """Replace phone numbers, e-mail, card, IBAN numbers and IP addresses in free text."""
    if not text.isascii():
        folded = "".join(
            str(unicodedata.digit(c)) if c.isdigit() and not c.isascii() else c for c in text
        )
        text = folded.replace("\uff0b", "+").replace("\uff20", "@").replace("\ufe62", "+")
    if "@" in text:
        text = _TEXT_EMAIL.sub("[email]", text)
    if sum(map(str.isdigit, text)) >= 4 or "::" in text:
        text = _TEXT_IBAN.sub(_iban, text)
        text = _TEXT_CARD.sub(_card, text)
        text = _TEXT_IPV4.sub(_address, text)
        text = _TEXT_IPV6.sub(_address, text)
        text = _TEXT_PHONE.sub("[phone]", text)
    elif ":" in text:
        text = _TEXT_IPV6.sub(_address, text)
    return text


def redact_url(url: str) -> str:
    """Replace e-mail addresses and phone numbers with a plus sign inside an address of a page.

    The user in front of the host is taken out first: `ann:pw@example.com` would be taken for an
    e-mail address, and the host be lost with it.
    """
    url = _URL_USER.sub(r"\1", url)
    text = url.replace("%40", "@").replace("%2B", "+").replace("%2b", "+")
    redacted = _TEXT_EMAIL.sub("[email]", text)
    redacted = re.sub(r"\+\d(?:[\s\-.()]?\d){7,14}(?!\d)", "[phone]", redacted)
    return url if redacted == text else redacted


def redact_tree(value: Any, pseudonyms: Pseudonyms) -> Any:
    """Redact a JSON value at any depth, its keys included.

    A string that as a whole is an identifier becomes its keyed hash, so that it still joins;
    any other string is redacted as text; a number that is a card number is replaced.
    """
    if isinstance(value, str):
        hashed = pseudonyms.of(value)
        return hashed if hashed != value else redact(value)
    if isinstance(value, dict):
        return {redact(str(k)): redact_tree(v, pseudonyms) for k, v in value.items()}
    if isinstance(value, list):
        return [redact_tree(item, pseudonyms) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**12:
        redacted = redact(str(value))
        return value if redacted == str(value) else redacted
    return value
