"""Where web and app visitors come from, and with what: the `context` of their events."""

from __future__ import annotations

import json

import numpy as np

from ingest.simulator.draws import choose
from ingest.simulator.values import Array, Vocabulary, Words

SITE = "https://www.example.com"

#: utm_source, utm_medium, utm_campaign, referrer; weight
ORIGINS: tuple[tuple[str, str, str, str, float], ...] = (
    ("", "", "", "", 30),
    ("", "", "", "https://www.google.com/", 18),
    ("", "", "", "https://www.bing.com/search", 3),
    ("", "", "", "https://forum.example.net/t/1841", 2),
    ("google", "cpc", "brand_search", "https://www.google.com/", 9),
    ("google", "cpc", "spring_readings", "https://www.google.com/", 7),
    ("facebook", "paid_social", "lookalike_q1", "https://m.facebook.com/", 8),
    ("instagram", "paid_social", "creator_stories", "https://l.instagram.com/", 9),
    ("newsletter", "email", "weekly_digest", "", 6),
    ("newsletter", "email", "win_back", "", 2),
    ("partner_blog", "referral", "guest_posts", "https://blog.example.org/stars", 3),
    ("whatsapp", "social", "share_button", "", 3),
)
LANDINGS = (
    "/", "/pricing", "/readings/tarot", "/creators", "/blog/mercury-retrograde", "/licences",
)  # fmt: skip

_CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0"
#: user agent; weight
AGENTS: tuple[tuple[str, float], ...] = (
    (f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {_CHROME} Mobile Safari/537.36", 24),
    (f"Mozilla/5.0 (Linux; Android 13; SM-A536B) {_CHROME} Mobile Safari/537.36", 16),
    ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
     "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1", 20),
    ("Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
     "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1", 4),
    (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME} Safari/537.36", 18),
    (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME} Safari/537.36 Edg/126.0.0.0", 5),
    ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 "
     "(KHTML, like Gecko) Version/17.5 Safari/605.1.15", 7),
    ("Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0", 4),
    ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", 1),
)  # fmt: skip

PAGES = Vocabulary(
    SITE + path
    for path in (
        "/", "/pricing", "/readings", "/readings/tarot", "/readings/astrology", "/horoscope",
        "/creators", "/brands", "/licences", "/blog/mercury-retrograde", "/search", "/account",
        "/checkout", "/projects", "/help",
    )
)  # fmt: skip


def _members() -> list[str]:
    """JSON members of every combination of agent, origin and landing page, and of the dnt ones."""
    found = []
    for agent, _ in AGENTS:
        for source, medium, campaign, referrer, _ in ORIGINS:
            for landing in LANDINGS:
                members = {
                    "landing_page": SITE + landing,
                    "utm_source": source,
                    "utm_medium": medium,
                    "utm_campaign": campaign,
                    "referrer": referrer,
                    "user_agent": agent,
                }
                found.append(json.dumps({k: v for k, v in members.items() if v})[1:-1])
    found += [json.dumps({"user_agent": agent, "dnt": True})[1:-1] for agent, _ in AGENTS]
    return found


_MEMBERS = _members()
FRAGMENTS = Vocabulary(_MEMBERS, raw=True)
OBJECTS = Vocabulary((f"{{{members}}}" for members in _MEMBERS), raw=True)


def visits(rng: np.random.Generator, device: Array, dnt: Array | None = None) -> Array:
    """Number of a context per visit.

    Args:
        rng: Source of chance.
        device: A stable number per visitor, so that people keep their device.
        dnt: Visits that send "do not track" and therefore no origin.

    """
    size = len(device)
    ends = np.cumsum([weight for _, weight in AGENTS])
    agent = np.searchsorted(ends, device.astype(np.uint64) % np.uint64(ends[-1]), side="right")
    origin = choose(rng, [weight for *_, weight in ORIGINS], size)
    landing = choose(rng, (50, 8, 14, 12, 10, 6), size)
    code = (agent * len(ORIGINS) + origin) * len(LANDINGS) + landing
    if dnt is not None:
        code = np.where(dnt, len(AGENTS) * len(ORIGINS) * len(LANDINGS) + agent, code)
    return code.astype(np.int32)


def objects(codes: Array) -> Words:
    """Column context, without a page; -1 is none."""
    return Words(OBJECTS, codes)
