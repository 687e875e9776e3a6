"""User agents: what a browser says of itself, reduced to device type, browser and system.

The rules are those of ua-parser; only the folding into five device types is ours.
"""

from __future__ import annotations

import re

#: Robots, and the programs that fetch a page to show a preview of a shared link. Most of them name
#: the page of their operator behind a plus sign, which no browser does. Cubot makes phones.
_ROBOT = re.compile(
    r"(?<!cu)bot(?:\b|_)|crawl|spider|slurp|facebookexternalhit|facebookcatalog|preview|^whatsapp/"
    r"|skypeuripreview|headless|lighthouse|curl/|wget/|python-|go-http-client|java/|okhttp"
    r"|monitor|pingdom|http-?client|libwww|axios|node-fetch|\+https?://|meta-external"
    r"|mediapartners-google|google-inspectiontool|slack-imgproxy|embedly|iframely|vkshare"
    r"|ia_archiver|kakaotalk-scrap",
    re.IGNORECASE,
)
_TABLET = re.compile(r"ipad|tablet|kindle|silk/|playbook|nexus (?:7|9|10)|sm-t\d", re.IGNORECASE)
_MOBILE = re.compile(r"mobi|iphone|ipod|android|windows phone|blackberry|opera mini", re.IGNORECASE)
_DESKTOP = re.compile(r"windows nt|macintosh|x11|cros|linux x86_64", re.IGNORECASE)


def device_type(user_agent: str) -> str:
    """Return bot, tablet, mobile, desktop or other."""
    if _ROBOT.search(user_agent):
        return "bot"
    if _TABLET.search(user_agent):
        return "tablet"
    if "android" in user_agent.lower() and "mobi" not in user_agent.lower():
        return "tablet"
    if _MOBILE.search(user_agent):
        return "mobile"
    return "desktop" if _DESKTOP.search(user_agent) else "other"


def parse_device(user_agent: str) -> tuple[str, str | None, str | None]:
    """Return device type, browser family and system family (None where nothing is known)."""
    import ua_parser

    parsed = ua_parser.parse(user_agent[:1024])
    browser = parsed.user_agent.family if parsed.user_agent else None
    system = parsed.os.family if parsed.os else None
    return device_type(user_agent), browser, system
