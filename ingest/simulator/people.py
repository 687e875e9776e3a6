"""The people of a run: identities, home country, tastes, first and last day.

Known truth: ``first_day`` is the day of sign-up, from ``churn_day`` on a person does nothing any
more. What people do belongs in the domain modules.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa

from ingest.simulator.draws import chance, choose
from ingest.simulator.rhythm import Calendar
from ingest.simulator.values import Array, Code, Column, Hash, Vocabulary, Words, mix

COUNTRIES = ("IN", "US", "DE", "BR", "GB", "FR", "MX", "ES", "AE", "ZA")
COUNTRY_WEIGHTS = (30, 18, 12, 10, 8, 6, 5, 5, 3, 3)
COUNTRY_WORDS = Vocabulary(COUNTRIES)
CURRENCIES = ("INR", "USD", "EUR", "BRL", "GBP", "MXN", "AED", "ZAR")
CURRENCY_WORDS = Vocabulary(CURRENCIES)
#: Per country: its currency, and what one US cent is in it.
CURRENCY_OF = np.array([0, 1, 2, 3, 4, 2, 5, 2, 6, 7], np.int32)
CENTS_PER_USD_CENT = np.array([83.0, 1.0, 0.92, 5.0, 0.79, 17.0, 3.67, 18.5])
SIGNS = (
    "aries", "taurus", "gemini", "cancer", "leo", "virgo",
    "libra", "scorpio", "sagittarius", "capricorn", "aquarius", "pisces",
)  # fmt: skip
CHANNELS = ("whatsapp", "web", "app", "voice")
CHANNEL_WORDS = Vocabulary(CHANNELS)
MOST_PEOPLE = 999_999
NEVER = 2**30


class People:
    """Everyone with an account, by number."""

    def __init__(
        self, calendar: Calendar, count: int, rng: np.random.Generator, personal_data_rate: float
    ) -> None:
        """Draw the people of a run; a part of them joined before it began."""
        self.calendar = calendar
        self.count = count
        days = calendar.days
        before = int(count * 0.45)
        joins = calendar.weights("web").cumsum()
        inside = np.sort(np.searchsorted(joins, rng.random(count - before))).astype(np.int64)
        earlier = np.sort(-rng.integers(1, 400, before))
        self.first_day = np.concatenate([earlier, np.minimum(inside, days - 1)]).astype(np.int64)
        stays = rng.exponential(np.where(chance(rng, 0.35, count), 12.0, 260.0)).astype(np.int64)
        # whoever is a customer at the start is one who stayed so far
        self.churn_day = np.maximum(self.first_day, 0) + 2 + stays
        self.churn_day[self.churn_day >= days] = NEVER
        self.weight = rng.lognormal(0, 0.9, count)
        self.country = choose(rng, COUNTRY_WEIGHTS, count)
        self.sign = rng.integers(0, 12, count).astype(np.int32)
        self.home = choose(rng, (38, 26, 28, 8), count)
        self.cents = CENTS_PER_USD_CENT[CURRENCY_OF[self.country]]
        self.salt = int(rng.integers(0, 2**31))
        self.plain = chance(rng, personal_data_rate, count) if personal_data_rate > 0 else None
        self._known = self._identifiers() if self.plain is not None else None
        self._sums: dict[int, Array] = {}

    def _identifiers(self) -> Vocabulary:
        """User ids of a run with planted personal data: some are a phone or an e-mail."""
        assert self.plain is not None
        return Vocabulary(
            f"u_{i:06d}" if not plain else f"+4915{i:09d}" if i % 2 else f"person.{i}@example.org"
            for i, plain in enumerate(self.plain)
        )

    def _alive(self, day: int) -> Array:
        """Cumulative weights of who may act on a day (not on the last one before churning).

        The evening of the last day is left free, as what begins before midnight may go on.
        """
        found = self._sums.get(day)
        if found is None:
            age = day - self.first_day
            fresh = np.exp(np.clip(age, 0, 400) / -18.0)
            weight = self.weight * (0.35 + 2.0 * fresh)
            found = np.where((age >= 0) & (day + 1 < self.churn_day), weight, 0).cumsum()
            self._sums[day] = found
        return found

    def draw(self, rng: np.random.Generator, day: Array) -> Array:
        """A person per row who is a customer on that day; ``day`` is sorted."""
        person = np.empty(len(day), np.int64)
        for value, start, stop in groups(day):
            sums = self._alive(value)
            drawn = np.searchsorted(sums, rng.random(stop - start) * sums[-1], side="right")
            person[start:stop] = np.minimum(drawn, self.count - 1)
        return person

    def draw_future(self, rng: np.random.Generator, day: Array, within: int = 10) -> Array:
        """A person per row who signs up within some days after that day (-1: nobody does)."""
        first = np.searchsorted(self.first_day, day + 1)
        last = np.searchsorted(self.first_day, day + 1 + within)
        drawn = first + (rng.random(len(day)) * (last - first)).astype(np.int64)
        return np.where(last > first, drawn, -1)

    def joining(self, first: int, last: int) -> Array:
        """Persons who sign up on the days ``first <= day < last``."""
        bounds = np.searchsorted(self.first_day, [first, last])
        return np.arange(bounds[0], bounds[1])

    def forget(self, day: int) -> None:
        """Drop what is remembered about days before this one."""
        self._sums = {key: value for key, value in self._sums.items() if key >= day}

    def ids(self, person: Array) -> Column:
        """Column user_id; -1 is null."""
        present = None if len(person) == 0 or person.min() >= 0 else person >= 0
        if self._known is not None:
            return Words(self._known, person.astype(np.int32))
        return Code(np.maximum(person, 0), present, prefix="u_", digits=6)

    def hashes(self, person: Array, kind: str, present: Array | None = None) -> Hash:
        """Column of anonymous ids, phone hashes or e-mail hashes, by ``kind``."""
        salt, prefix = {"anonymous": (1, "a_"), "phone": (2, ""), "email": (3, "")}[kind]
        return Hash(mix(person, self.salt + salt), present, prefix=prefix)

    def countries(self, person: Array) -> Words:
        """Column country_code."""
        return Words(COUNTRY_WORDS, self.country[person])

    def currencies(self, person: Array) -> Words:
        """Column currency."""
        return Words(CURRENCY_WORDS, CURRENCY_OF[self.country[person]])

    def truth(self) -> pa.Table:
        """One row per person, as written beside the events."""
        person = np.arange(self.count)
        start = self.calendar.start
        users = self.ids(person)
        if isinstance(users, Words):
            user_ids = list(users.vocabulary.values)
        else:
            user_ids = [f"u_{i:06d}" for i in person]

        def texts(kind: str) -> list[str]:
            column = self.hashes(person, kind)
            return [f"{column.prefix}{int(value):016x}" for value in column.values]

        return pa.table(
            {
                "user_id": user_ids,
                "anonymous_id": texts("anonymous"),
                "phone_hash": texts("phone"),
                "email_hash": texts("email"),
                "country_code": [COUNTRIES[i] for i in self.country],
                "home_channel": [CHANNELS[i] for i in self.home],
                "zodiac_sign": [SIGNS[i] for i in self.sign],
                "first_date": [start + timedelta(days=int(d)) for d in self.first_day],
                "churn_date": pa.array(
                    [
                        None if day == NEVER else start + timedelta(days=int(day))
                        for day in self.churn_day
                    ],
                    pa.date32(),
                ),
            }
        )


def groups(sorted_values: Array) -> list[tuple[int, int, int]]:
    """Runs of equal values of a sorted array: value, start, stop."""
    if not len(sorted_values):
        return []
    starts = np.concatenate([[0], np.flatnonzero(np.diff(sorted_values)) + 1])
    stops = np.append(starts[1:], len(sorted_values))
    return [(int(sorted_values[a]), int(a), int(b)) for a, b in zip(starts, stops, strict=True)]
