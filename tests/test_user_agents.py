"""User agents as they are sent: who is a robot, and what everybody else holds in hand."""

from __future__ import annotations

import pytest

from ingest.user_agents import device_type, parse_device

IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"  # fmt: skip
ANDROID = "Mozilla/5.0 (Linux; Android 13; {}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0"  # fmt: skip

ROBOTS = [
    # Previews of shared links.
    "WhatsApp/2.23.20.0 A",
    "WhatsApp/2.2336.9 N",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "facebookexternalhit/1.1",
    "Facebot",
    "meta-externalfetcher/1.1",
    "TelegramBot (like TwitterBot)",
    "Twitterbot/1.0",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Slackbot 1.0 (+https://api.slack.com/robots)",
    "Slack-ImgProxy 0.19",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Jakarta Commons-HttpClient/3.1)",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
    "Pinterest/0.2 (+http://www.pinterest.com/)",
    "vkShare; http://vk.com/dev/Share",
    "Iframely/1.3.1",
    "Mozilla/5.0 (compatible; Embedly/0.2)",
    "kakaotalk-scrap/1.0",
    # The preview of a message on a Mac, which says it is everything.
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) "
    "Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0",
    # Search engines, also as the phones they claim to be.
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    ANDROID.format("Nexus 5X Build/MMB29P") + " Mobile Safari/537.36 (compatible; Googlebot/2.1; "
    "+http://www.google.com/bot.html)",
    "Googlebot-Image/1.0",
    "AdsBot-Google",
    "Mediapartners-Google",
    "APIs-Google (+https://developers.google.com/webmasters/APIs-Google.html)",
    "Mozilla/5.0 (compatible; Google-InspectionTool/1.0)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
    "Mozilla/5.0 (compatible; Baiduspider/2.0)",
    "ia_archiver",
    "Mozilla/5.0 (compatible; Yeti/1.1; +http://naver.me/spd)",
    # Programs.
    "curl/8.5.0",
    "python-requests/2.31.0",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/120.0.0.0 Safari/537.36",
]

PEOPLE = [
    (IPHONE + " Version/17.4 Mobile/15E148 Safari/604.1", "mobile"),
    # Browsers inside the programs whose previews are robots.
    (IPHONE + " Mobile/15E148 [FBAN/FBIOS;FBAV/450.0.0]", "mobile"),
    (IPHONE + " Mobile/15E148 WhatsApp/2.23.20", "mobile"),
    (IPHONE + " Mobile/15E148 [Pinterest/iOS]", "mobile"),
    (IPHONE + " Mobile/15E148 LinkedInApp/9.28", "mobile"),
    (ANDROID.format("SM-S901B") + " Mobile Safari/537.36 Telegram-Android/10.0", "mobile"),
    # A maker of phones by an unlucky name.
    (ANDROID.format("CUBOT NOTE 20") + " Mobile Safari/537.36", "mobile"),
    (ANDROID.format("CUBOT_X30") + " Mobile Safari/537.36", "mobile"),
    (ANDROID.format("SM-X906C") + " Safari/537.36", "tablet"),
    ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0", "desktop"),
    ("Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) SamsungBrowser/2.1 TV Safari/538.1", "other"),
    ("something", "other"),
    ("\u0000☎" * 5000, "other"),
]


@pytest.mark.parametrize("agent", ROBOTS)
def test_robots_and_previews_are_bots(agent: str) -> None:
    assert device_type(agent) == "bot"
    assert device_type(agent.upper()) == "bot"


@pytest.mark.parametrize(("agent", "expected"), PEOPLE)
def test_people_are_not(agent: str, expected: str) -> None:
    assert device_type(agent) == expected


def test_an_agent_that_nobody_knows_still_has_a_device_type() -> None:
    """That an event came with a user agent is told by its device type, so it is never null."""
    assert parse_device("something") == ("other", None, None)
    assert parse_device("WhatsApp/2.23.20.0 A")[0] == "bot"
