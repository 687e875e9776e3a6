"""Privacy at the door: identifiers of persons become keyed hashes, so that joins still work.

Belongs here: what identifies, its normal form, its hash. Free text, addresses of pages and whole
JSON values are redacted in ``ingest.redaction``. Which fields are identifiers or text is said by
the contracts; where the functions are applied is the matter of ``ingest.validation`` and
``ingest.shape``.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from urllib.parse import unquote

from ingest.settings import HashKey, Settings

#: Fields that name a client: a person who objects to tracking takes them out of an event.
CLIENT_IDENTIFIERS = (
    "user_id", "anonymous_id", "session_id", "actor_id", "recipient_phone_hash",
    "responding_client_hash", "forwarding_client_hash", "phone_hash", "email_hash",
    "client_anonymized_id",
)  # fmt: skip

#: What a line holds that can hold an identifier that must be hashed; any sign beyond ASCII too.
SUSPICIOUS_MARKS = ("@", "+", "wamid.", "\\u", "%40", "%2B", "%2b", "%25")

#: How a value looks that is worth a look in Python, as a regular expression of RE2.
IDENTIFYING_MARKS = (
    r"[@+\x{FF0B}\x{FE62}\x{FF20}\x{FE6B}\x{207A}\x{208A}\x{2795}]|wamid[.]|%(25)*(40|2[Bb])"
)

_SCHEME = re.compile(r"^(?:tel|sms|whatsapp|mailto)\s*:\s*", re.IGNORECASE)
_BETWEEN = r"[\s\-‐-―−.()/·_\u2060]"
_PHONE = re.compile(rf"\+{_BETWEEN}*\d(?:{_BETWEEN}*\d){{7,14}}")
_TOP = r"(?:xn--[a-z0-9\-]+|[^\W\d_]{2,})"
_EMAIL = re.compile(rf"(?:\"[^\"@]+\"|[^\s@<>\",;:]+)@[^\s@<>\",;:]+\.{_TOP}", re.IGNORECASE)
_NAMED_EMAIL = re.compile(r"[^<>@]*<\s*(?:mailto:)?([^<>@\s]+@[^<>@\s]+)\s*>", re.IGNORECASE)
#: The name of an image for screens of a higher resolution, which only looks like an address.
IMAGE_NAME = re.compile(r"@\dx\.(?:png|jpe?g|gif|webp|svg|avif)$", re.IGNORECASE)

_DOMAIN = re.compile(rf"@[\w\-]+(?:\.[\w\-]+)*\.{_TOP}", re.IGNORECASE)
_LOCAL_SIGN = re.compile(r"[\w.%+'\-]")
_NUMBER = re.compile(rf"(?<![\w.+])\+{_BETWEEN}*\d(?:{_BETWEEN}{{0,3}}\d){{7,14}}(?!\d)")
_NUMBER_OR_MESSAGE = re.compile(rf"wamid\.[A-Za-z0-9+/=_\-]+|{_NUMBER.pattern}", re.IGNORECASE)

_SIGNS = {"\u207a": "+", "\u208a": "+", "\u2795": "+"}

#: A value that was percent-encoded more often than this is no address that anybody sent.
_ENCODED_TIMES = 3


def decoded(value: str) -> str:
    """Take percent-encoding off, also where it was put on twice."""
    for _ in range(_ENCODED_TIMES):
        if "%" not in value:
            break
        value = unquote(value)
    return value


def _plain(value: str) -> str:
    """Fold the spellings of other scripts: full-width signs, Arabic or Devanagari digits."""
    if value.isascii():
        return value.strip()
    text = unicodedata.normalize("NFKC", "".join(_SIGNS.get(c, c) for c in value)).strip()
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
    text = _SCHEME.sub("", _plain(decoded(value)))
    if "@" in text:
        named = _NAMED_EMAIL.fullmatch(text)
        text = named[1] if named else text
        return text.lower() if _EMAIL.fullmatch(text) and not IMAGE_NAME.search(text) else None
    if text.startswith("+") and _PHONE.fullmatch(text):
        return "+" + "".join(c for c in text if c.isdigit())
    return None


def _hashed(key: HashKey, normal_form: str) -> str:
    mac = hmac.digest(key.secret, normal_form.encode("utf-8", "surrogatepass"), "sha256").hex()
    return f"{key.version}:{mac}"


def embedded_addresses(
    text: str, *, domain: re.Pattern[str], local_sign: re.Pattern[str]
) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the e-mail addresses in a text, in one pass whatever it holds.

    Each is looked for from its sign on: any letter of a long word could be the first of one, and
    the word would be read to its end from every letter. ``domain`` matches the sign and what
    follows, ``local_sign`` one sign of what stands in front.
    """
    free = 0
    for match in domain.finditer(text):
        begin = match.start()
        while begin > free and local_sign.match(text, begin - 1):
            begin -= 1
        if begin < match.start():
            yield begin, match.end()
            free = match.end()


def _with_hidden_parts(value: str, key: HashKey) -> str:
    """Replace the parts of a value that identify by their hashes; else it is left as it is."""

    def hidden(part: str) -> str:
        normal_form = identifying(part)
        return part if normal_form is None else _hashed(key, normal_form)

    text = _plain(decoded(value))
    addresses = embedded_addresses(text, domain=_DOMAIN, local_sign=_LOCAL_SIGN)
    numbers = _NUMBER.finditer(text)
    number = next(numbers, None)
    parts: list[str] = []
    free = 0
    for begin, end in (*addresses, (len(text), len(text))):
        while number is not None and number.start() < begin:
            # What begins as a phone number is not cut in two by an address that touches it.
            begin, number = max(begin, number.end()), next(numbers, None)
        while found := _NUMBER_OR_MESSAGE.search(text, free, begin):
            parts += text[free : found.start()], hidden(found.group())
            free = found.end()
        parts += text[free:begin], hidden(text[begin:end])
        free = end
    hidden_text = "".join(parts)
    return value if hidden_text == text else hidden_text


class Pseudonyms:
    """Keyed hashes of identifying values: HMAC-SHA256, written ``version:hex``.

    Clients and staff have keys of their own. What a hash was under other keys is noted here while
    it may be needed, and kept by ``ingest.hash_links``.
    """

    def __init__(
        self,
        key: HashKey,
        *,
        staff: HashKey | None = None,
        older: Sequence[HashKey] = (),
        staff_may_follow: bool = False,
    ) -> None:
        """Bind the keys: the one that writes clients, that of staff, older ones of clients.

        ``staff_may_follow``: the key of staff is not written out, so that it will be another one
        when the first key of clients is dropped.
        """
        self._key = key
        self._older = tuple(older)
        self._staff = staff or (older[0] if older else key).for_staff()
        self._later = tuple(k.for_staff() for k in (*older[1:], key)) if staff_may_follow else ()
        self._written: frozenset[str] = frozenset()
        self._aliases: dict[str, str] = {}
        #: Hash under the key that writes -> the same client under the older keys, since cleared.
        self.under_older_keys: dict[str, tuple[str, ...]] = {}
        #: Hash of a member of staff under another key -> how that member is written.
        self.staff_aliases: dict[str, str] = {}
        self._cached = lru_cache(maxsize=1 << 17)(self._compute)
        self._cached_staff = lru_cache(maxsize=1 << 15)(self._compute_staff)

    @classmethod
    def of_settings(cls, settings: Settings) -> Pseudonyms:
        """Bind the keys of the settings."""
        return cls(
            settings.write_key,
            staff=settings.staff_key,
            older=settings.older_keys,
            staff_may_follow=settings.written_staff_key is None,
        )

    def remember_staff(self, *, written: Collection[str], aliases: Mapping[str, str]) -> None:
        """Take over how staff is written in the warehouse.

        ``written`` are hashes from before staff had a key of its own; ``aliases`` lead from hashes
        under the key of staff to what stands in their place.
        """
        if self._written != written or self._aliases != aliases:
            self._written, self._aliases = frozenset(written), dict(aliases)
            self._cached_staff.cache_clear()

    def digest(self, normal_form: str) -> str:
        """Hash the normal form of an identifying value of a client."""
        return _hashed(self._key, normal_form)

    def _compute(self, value: str) -> tuple[str, tuple[str, ...]]:
        normal_form = identifying(value)
        if normal_form is None:
            return _with_hidden_parts(value, self._key), ()
        return self.digest(normal_form), tuple(_hashed(key, normal_form) for key in self._older)

    def of(self, value: str) -> str:
        """Return the hash of an identifying value of a client, any other value as it is.

        Of a longer value each part that identifies is replaced by its hash.
        """
        found, older = self._cached(value)
        if older:
            self.under_older_keys[found] = older
        return found

    def whole(self, value: str) -> str | None:
        """Return the hash of a value that as a whole identifies a client, else None."""
        return self.of(value) if identifying(value) is not None else None

    def _compute_staff(self, value: str) -> tuple[str, tuple[str, ...]]:
        normal_form = identifying(value)
        if normal_form is None:
            return _with_hidden_parts(value, self._staff), ()
        own = _hashed(self._staff, normal_form)
        later = tuple(_hashed(key, normal_form) for key in self._later)
        known = [self._aliases[c] for c in (own, *later) if c in self._aliases]
        if not known and self._written:
            before = (_hashed(key, normal_form) for key in (*self._older, self._key))
            known = [hashed for hashed in before if hashed in self._written]
        found = known[0] if known else own
        return found, tuple(c for c in (own, *later) if c != found)

    def staff(self, value: str) -> str:
        """Return the hash of an identifying value of a member of staff, any other as it is."""
        found, others = self._cached_staff(value)
        for other in others:
            self.staff_aliases[other] = found
        return found
