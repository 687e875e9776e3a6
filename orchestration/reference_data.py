"""Judgement of the reference data that defines metrics, before dbt loads it.

Belongs here: what must hold of the seeds, in words that tell which file and value to mend. The vars
beside them are judged in ``orchestration.metric_variables``; that a seed has its columns where a
user's file replaces ours, in ``orchestration.dbt_project``. What the data means is SQL.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from ingest.errors import UserError
from ingest.registry import registry
from ingest.yaml_files import read_yaml
from orchestration.metric_variables import judge_variables

Row = dict[str, str]

SHAPES = ("ratio", "capped", "inverted")
THRESHOLD_KINDS = ("above", "at_least", "above_platform_percentile")
TRIGGER_RULES = ("score_below", "score_at_least", "weeks_declining")

#: How far back advisor_interventions looks for falling weeks.
MOST_WEEKS = 3

AGENT_SCORES = ("quality_score", "conversion_score", "efficiency_score")
AREA_COMPARISONS = ("above", "below", "at_least", "at_most")
ALERT_TYPES = ("performance", "revenue", "satisfaction", "system")
ALERT_SEVERITIES = ("low", "medium", "high", "critical")
MONITORED_AGGREGATES = ("sum", "mean", "max")
ALERT_SHARES = ("below_share_of_previous_date", "below_share_of_mean_of_7_dates")
NUMBERS = ("bigint", "double precision")
WEEKDAYS = ("1", "2", "3", "4", "5", "6", "7")
CLOCK = re.compile("([01][0-9]|2[0-3]):[0-5][0-9]")
IDENTIFIERS = ("*", "user_id", "anonymous_id", "phone_hash", "email_hash")


def _fail(seed: str, text: str) -> None:
    raise UserError(f"{seed}.csv: {text}")


def _number(seed: str, row: Row, column: str) -> float:
    try:
        number = float(row[column])
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        _fail(seed, f"{column} is {row[column]!r}; write a number")
    return number


def _known(seed: str, column: str, name: str, names: Iterable[str]) -> None:
    if name not in (known := list(names)):
        _fail(seed, f"{column} is {name!r}; use one of {', '.join(known)}")


def _unique(seed: str, column: str, rows: Sequence[Row]) -> None:
    for name, count in Counter(row[column] for row in rows).items():
        if not name or count > 1:
            _fail(seed, f"{column} {name!r} stands {count} times; each needs a name of its own")


def _hundred(seed: str, what: str, weights: Iterable[float]) -> None:
    total = sum(weights)
    if abs(total - 100) > 1e-9:
        _fail(seed, f"{what} add up to {total:g}; they must add up to 100")


def _columns(project: Path, model: str, kinds: Sequence[str] = ()) -> list[str]:
    """Return the columns of a model's contract, or those of some data types."""
    (path,) = (project / "models").rglob(f"{model}.yml")
    columns = _document(path, path.stat().st_mtime_ns)["models"][0]["columns"]
    return [column["name"] for column in columns if not kinds or column["data_type"] in kinds]


def _variables(project: Path) -> Mapping[str, Any]:
    path = project / "dbt_project.yml"
    return _document(path, path.stat().st_mtime_ns).get("vars") or {}


@lru_cache(maxsize=256)
def _document(path: Path, written_at: int) -> Any:
    """Return a file that many rules ask for; it is read anew when it was written anew."""
    return read_yaml(path)


def platform_features(rows: Sequence[Row], project: Path) -> None:
    """At least one feature, each once."""
    if not rows:
        _fail("platform_features", "there is no feature; list at least one")
    _unique("platform_features", "feature", rows)


def advisor_sub_metrics(rows: Sequence[Row], project: Path) -> None:
    """Weights add up to 100, and every name is one that the models know."""
    seed = "advisor_sub_metrics"
    _unique(seed, "sub_metric", rows)
    keys = ("as_of_date", "advisor_id_hash", "tier")
    measures = [name for name in _columns(project, "int_advisor_windows") if name not in keys]
    columns = _columns(project, "advisor_health_scores")
    first, last = columns.index("period_days") + 1, columns.index("base_score")
    components: dict[str, set[float]] = {}
    for row in rows:
        _known(seed, "component", row["component"], columns[first:last])
        components.setdefault(row["component"], set()).add(_number(seed, row, "component_weight"))
        _known(seed, "numerator", row["numerator"], measures)
        if bool(row["denominator"]) == bool(row["denominator_number"]):
            _fail(
                seed, f"{row['sub_metric']} needs a denominator or a denominator_number, not both"
            )
        if row["denominator"]:
            _known(seed, "denominator", row["denominator"], measures)
        elif _number(seed, row, "denominator_number") <= 0:
            _fail(seed, f"denominator_number of {row['sub_metric']} must be above 0")
        _known(seed, "shape", row["shape"], SHAPES)
        _known(seed, "threshold_kind", row["threshold_kind"], THRESHOLD_KINDS)
        threshold = _number(seed, row, "threshold")
        is_fraction = row["threshold_kind"] == "above_platform_percentile"
        if threshold < 0 or (is_fraction and threshold > 1):
            _fail(seed, f"threshold of {row['sub_metric']} is {threshold:g}; a percentile is a "
                        "fraction from 0 to 1, any other threshold is 0 or more")  # fmt: skip
        for column in ("component_weight", "sub_metric_weight"):
            if _number(seed, row, column) <= 0:
                _fail(seed, f"{column} of {row['sub_metric']} must be above 0")
    for component, weights in components.items():
        if len(weights) > 1:
            _fail(seed, f"component_weight of {component} differs between its rows")
        _hundred(
            seed,
            f"weights of the sub-metrics of {component}",
            (float(row["sub_metric_weight"]) for row in rows if row["component"] == component),
        )
    _hundred(seed, "weights of the components", (w for ws in components.values() for w in ws))


def advisor_tiers(rows: Sequence[Row], project: Path) -> None:
    """Every tier that producers may send has its bonus."""
    seed = "advisor_tiers"
    _unique(seed, "tier", rows)
    tiers = registry().events["content_created"].properties["advisor_tier"].enum or ()
    for row in rows:
        _known(seed, "tier", row["tier"], tiers)
        _number(seed, row, "bonus")
    if missing := set(tiers) - {row["tier"] for row in rows}:
        _fail(seed, f"the bonus of {', '.join(sorted(missing))} is missing")


def advisor_categories(rows: Sequence[Row], project: Path) -> None:
    """Whole scores, one category from 0 on."""
    seed = "advisor_categories"
    _unique(seed, "category", rows)
    _unique(seed, "minimum_score", rows)
    for row in rows:
        if not row["minimum_score"].isdigit() or int(row["minimum_score"]) > 100:
            _fail(seed, f"minimum_score is {row['minimum_score']!r}; use a whole number 0 to 100")
    if "0" not in {row["minimum_score"] for row in rows}:
        _fail(seed, "no category begins at 0; a score below all of them would have none")


def advisor_triggers(rows: Sequence[Row], project: Path) -> None:
    """Rules that the model knows, with thresholds that can be reached."""
    seed = "advisor_triggers"
    _unique(seed, "trigger", rows)
    for row in rows:
        _known(seed, "rule", row["rule"], TRIGGER_RULES)
        threshold = _number(seed, row, "threshold")
        if row["rule"] == "weeks_declining" and threshold not in range(1, MOST_WEEKS + 1):
            _fail(seed, f"threshold of {row['trigger']} is {threshold:g}; use 1 to {MOST_WEEKS}")


def agent_scores(rows: Sequence[Row], project: Path) -> None:
    """Every score has its weight, and weights add up to 100."""
    seed = "agent_scores"
    _unique(seed, "score", rows)
    for row in rows:
        _known(seed, "score", row["score"], AGENT_SCORES)
        if _number(seed, row, "weight") < 0:
            _fail(seed, f"weight of {row['score']} is below 0")
    if missing := [name for name in AGENT_SCORES if name not in {row["score"] for row in rows}]:
        _fail(seed, f"the weight of {', '.join(missing)} is missing")
    _hundred(seed, "weights", (float(row["weight"]) for row in rows))


def agent_grades(rows: Sequence[Row], project: Path) -> None:
    """Each grade begins at a score of its own, one of them at 0."""
    seed = "agent_grades"
    _unique(seed, "grade", rows)
    minima = [_number(seed, row, "minimum_score") for row in rows]
    for minimum, count in Counter(minima).items():
        if count > 1:
            _fail(seed, f"minimum_score {minimum:g} stands {count} times; each grade needs its own")
        if not 0 <= minimum <= 100:
            _fail(seed, f"minimum_score is {minimum:g}; use a number from 0 to 100")
    if 0 not in minima:
        _fail(seed, "no grade begins at 0; a score below all of them would have none")


def agent_areas(rows: Sequence[Row], project: Path) -> None:
    """Areas have a name and a place of their own, and judge a rate or an average."""
    seed = "agent_areas"
    _unique(seed, "code", rows)
    _unique(seed, "position", rows)
    averages = _columns(project, "agent_performance", ["double precision"])
    for row in rows:
        if not row["position"].isdigit():
            _fail(seed, f"position is {row['position']!r}; use a whole number")
        if "," in row["code"]:
            _fail(seed, f"code is {row['code']!r}; commas are what codes are joined with")
        _known(seed, "metric", row["metric"], [n for n in averages if not n.endswith("_score")])
        for what in ("strength", "improvement"):
            _known(seed, f"{what}_comparison", row[f"{what}_comparison"], AREA_COMPARISONS)
            _number(seed, row, f"{what}_threshold")


def alert_rules(rows: Sequence[Row], project: Path) -> None:
    """Each rule names a number that there is, and what makes it an alert."""
    seed = "alert_rules"
    _unique(seed, "rule", rows)
    relations = _variables(project).get("alert_relations") or {}
    for row in rows:
        _known(seed, "type", row["type"], ALERT_TYPES)
        _known(seed, "severity", row["severity"], ALERT_SEVERITIES)
        _known(seed, "relation", row["relation"], relations)
        keys = relations[row["relation"]]["keys"]
        metrics = [n for n in _columns(project, row["relation"], NUMBERS) if n not in keys]
        _known(seed, "metric", row["metric"], metrics)
        _known(seed, "comparison", row["comparison"], ("above", "below", *ALERT_SHARES))
        if _number(seed, row, "threshold") <= 0 and row["comparison"] in ALERT_SHARES:
            _fail(seed, f"threshold of {row['rule']} is a share; it must be above 0")
        if not row["message"]:
            _fail(seed, f"message of {row['rule']} is missing; say what is wrong")


def _optional(seed: str, row: Row, column: str, least: float, *, whole: bool = False) -> None:
    if not row[column]:
        return
    number = _number(seed, row, column)
    if number < least or (whole and not number.is_integer()):
        kind = "a whole number" if whole else "a number"
        _fail(seed, f"{column} of {row['rule']} is {row[column]}; use {kind} from {least:g} on")


def alert_policies(rows: Sequence[Row], project: Path) -> None:
    """Numbers that make sense; that a rule exists is not asked: either file may be a user's."""
    seed = "alert_policies"
    _unique(seed, "rule", rows)
    relations = _variables(project).get("alert_relations") or {}
    samples = {name for relation in relations for name in _columns(project, relation, NUMBERS)}
    for row in rows:
        if row["sample_metric"] and row["sample_metric"] not in samples:
            _fail(
                seed,
                f"sample_metric of {row['rule']} is {row['sample_metric']!r}; "
                "name a number of the rule's mart, such as conversations",
            )
        if bool(row["sample_metric"]) != bool(row["minimum_sample"]):
            _fail(
                seed, f"{row['rule']} needs both a sample_metric and a minimum_sample, or neither"
            )
        _optional(seed, row, "minimum_sample", 0)
        if row["clear_threshold"]:
            _number(seed, row, "clear_threshold")
        _optional(seed, row, "resolve_after_dates", 1, whole=True)
        _optional(seed, row, "cool_down_dates", 0, whole=True)


def monitored_metrics(rows: Sequence[Row], project: Path) -> None:
    """Each names a number that there is, once, and how the rows of a date become one."""
    seed = "monitored_metrics"
    relations = _variables(project).get("alert_relations") or {}
    for (relation, metric), count in Counter((r["relation"], r["metric"]) for r in rows).items():
        if count > 1:
            _fail(seed, f"{relation}, {metric} stands {count} times; once is enough")
    for row in rows:
        _known(seed, "relation", row["relation"], relations)
        keys = relations[row["relation"]]["keys"]
        numbers = [n for n in _columns(project, row["relation"], NUMBERS) if n not in keys]
        _known(seed, "metric", row["metric"], numbers)
        _known(seed, "aggregate", row["aggregate"], MONITORED_AGGREGATES)
        if row["weight"]:
            _known(seed, "weight", row["weight"], numbers)
            if row["aggregate"] != "mean":
                _fail(seed, f"weight of {row['metric']} is {row['weight']!r}; only a mean has one")
        if _number(seed, row, "least_spread") <= 0:
            _fail(seed, f"least_spread of {row['metric']} must be above 0")


def _day(seed: str, row: Row, column: str) -> None:
    try:
        date.fromisoformat(row[column])
    except ValueError:
        _fail(seed, f"{column} is {row[column]!r}; write a date as 2026-01-31")


def _amount(seed: str, row: Row, column: str) -> None:
    if not row[column].isascii() or not row[column].isdigit() or len(row[column]) > 18:
        _fail(seed, f"{column} is {row[column]!r}; write a whole number from 0 on")


def _code(seed: str, row: Row, column: str, letters: int, *, others: Sequence[str] = ()) -> None:
    code = row[column]
    if code in others or (len(code) == letters and code.isascii() and code.isalpha()
                          and code.isupper()):  # fmt: skip
        return
    _fail(seed, f"{column} is {code!r}; write {letters} capitals"
                + "".join(f" or {other or 'nothing'}" for other in others))  # fmt: skip


def campaign_spend(rows: Sequence[Row], project: Path) -> None:
    """Dates and amounts; several of one campaign and date add up."""
    seed = "campaign_spend"
    for row in rows:
        _day(seed, row, "spend_date")
        _amount(seed, row, "amount_cents")
        _code(seed, row, "currency", 3, others=("",))


def message_rates(rows: Sequence[Row], project: Path) -> None:
    """One price for a type, category and country from a date on."""
    seed = "message_rates"
    keys = ("pricing_type", "category", "country_code", "valid_from")
    for row in rows:
        for column in ("pricing_type", "category"):
            if not row[column]:
                _fail(seed, f"{column} is missing; write it as events do, such as regular")
        _code(seed, row, "country_code", 2, others=("*",))
        _day(seed, row, "valid_from")
        _amount(seed, row, "price_micros")
        _code(seed, row, "currency", 3)
    for key, count in Counter(tuple(row[name] for name in keys) for row in rows).items():
        if count > 1:
            _fail(seed, f"{', '.join(key)} stands {count} times; each date has one price")


def funnels(rows: Sequence[Row], project: Path) -> None:
    """Steps from 1 without a gap, each an event that there is, and one window for all of them."""
    seed = "funnels"
    steps: dict[str, list[str]] = {}
    windows: dict[str, set[float]] = {}
    for row in rows:
        if not row["funnel"]:
            _fail(seed, "funnel is missing; give each funnel a name")
        if not row["step"].isdigit():
            _fail(seed, f"step is {row['step']!r}; use whole numbers from 1 on")
        _known(seed, "event_name", row["event_name"], registry().events)
        steps.setdefault(row["funnel"], []).append(row["step"])
        windows.setdefault(row["funnel"], set()).add(_number(seed, row, "window_hours"))
    for funnel, found in steps.items():
        if sorted(map(int, found)) != list(range(1, len(found) + 1)):
            _fail(seed, f"steps of {funnel} are {', '.join(found)}; they must go from 1 on, "
                        "each once and without a gap")  # fmt: skip
        if len(windows[funnel]) > 1 or min(windows[funnel]) <= 0:
            hours = ", ".join(f"{hours:g}" for hours in sorted(windows[funnel]))
            _fail(seed, f"window_hours of {funnel} is {hours}; all steps need the same, above 0")


def business_hours(rows: Sequence[Row], project: Path) -> None:
    """Openings of a weekday, on a clock of 24 hours, that do not overlap."""
    seed = "business_hours"
    closed_at: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: (row["weekday"], row["opens_at"])):
        weekday, opens_at, closes_at = row["weekday"], row["opens_at"], row["closes_at"]
        if weekday not in WEEKDAYS:
            _fail(seed, f"weekday is {weekday!r}; use 1 for Monday to 7 for Sunday")
        if not CLOCK.fullmatch(opens_at):
            _fail(seed, f"opens_at is {opens_at!r}; write a time as 09:00")
        if closes_at != "24:00" and not CLOCK.fullmatch(closes_at):
            _fail(seed, f"closes_at is {closes_at!r}; write a time as 18:00, midnight as 24:00")
        if opens_at >= closes_at:
            _fail(seed, f"weekday {weekday} opens at {opens_at} and closes at {closes_at}; "
                        "an opening ends later on the same day")  # fmt: skip
        if opens_at < closed_at.get(weekday, ""):
            _fail(seed, f"weekday {weekday} opens at {opens_at} before it has closed; "
                        "openings of a weekday may not overlap")  # fmt: skip
        closed_at[weekday] = closes_at


def holidays(rows: Sequence[Row], project: Path) -> None:
    """Dates."""
    for row in rows:
        _day("holidays", row, "date")


def identity_placeholders(rows: Sequence[Row], project: Path) -> None:
    """Values of a field that identifies, or of any."""
    for row in rows:
        _known("identity_placeholders", "identifier_type", row["identifier_type"], IDENTIFIERS)


#: What retention knows beside relations of dbt.
RETENTION_TABLES = ("raw_events", "quarantine", "loads", "runs", "check_results")

#: Intermediate tables whose old rows no later date needs (docs/decisions.md 27).
FORGETTABLE = (
    "int_user_days", "int_active_users", "int_hourly_activity", "int_session_days",
    "int_session_conversions", "int_conversions", "int_chat_events", "int_funnel_events",
    "int_funnel_steps",
)  # fmt: skip

#: Marts that later dates go on from, or that show how things stand, whatever the date.
UNFORGETTABLE = (
    "alerts", "alert_episode_days", "alert_episodes", "metric_anomalies", "conversations",
    "customer_insights", "identity_map", "identity_conflicts", "timeline_events",
    "user_timeline",
)  # fmt: skip


def retention(rows: Sequence[Row], project: Path) -> None:
    """Names that there are, days or nothing, and no row that a later figure needs."""
    seed = "retention"
    _unique(seed, "what", rows)
    layers = {
        path.stem: path.parent.name
        for layer in ("intermediate", "marts")
        for path in (project / "models" / layer).glob("*.sql")
    }
    for row in rows:
        what, kept = row["what"], row["kept_days"]
        if kept and (not kept.isascii() or not kept.isdigit() or not 0 < int(kept) <= 36_500):
            _fail(seed, f"kept_days of {what} is {kept!r}; write days from 1 to 36500, or nothing "
                        "for good")  # fmt: skip
        if what in RETENTION_TABLES:
            continue
        found = fnmatch.filter(layers, what)
        if not found:
            _fail(seed, f"there is no relation {what!r}; name one of marts or intermediate, or one "
                        f"of {', '.join(RETENTION_TABLES)}")  # fmt: skip
        for name in found if kept else ():
            allowed = name in FORGETTABLE or (layers[name] == "marts" and name not in UNFORGETTABLE)
            if not allowed:
                _fail(seed, f"{what} would remove rows of {name} that later dates need; leave its "
                            "kept_days empty or its row out")  # fmt: skip
    days = {row["what"]: math.inf if not row["kept_days"] else int(row["kept_days"])
            for row in rows}  # fmt: skip
    if missing := [name for name in RETENTION_TABLES if name not in days]:
        _fail(seed, f"the row of {', '.join(missing)} is missing; its kept_days may be empty")
    for name in ("raw_events", "quarantine"):
        if days["loads"] < days[name]:
            _fail(seed, f"loads are kept for {days['loads']} days and {name} longer; what came in "
                        "is kept no longer than the load that it came in with")  # fmt: skip


def access_rules(rows: Sequence[Row], project: Path) -> None:
    """Roles that there are, each relation named once, own rows said whole."""
    from orchestration.access.matrix import PEOPLE

    seed = "access_rules"
    for row in rows:
        _known(seed, "role", row["role"], PEOPLE)
        where = f"{row['role']} on {row['relation'] or '?'}"
        if not re.fullmatch(r"((raw|ops|intermediate)\.\*)|[a-z0-9_*]+", row["relation"]):
            _fail(seed, f"{where}: relation is a mart, a pattern of marts such as "
                        "advisor_health_*, or raw.*, ops.*, intermediate.*")  # fmt: skip
        if row["last_days"] and not re.fullmatch("[1-9][0-9]{0,4}", row["last_days"]):
            _fail(seed, f"{where}: last_days is {row['last_days']!r}; write a number of dates")
        if bool(row["owners_relation"]) != bool(row["owners_column"]):
            _fail(seed, f"{where}: owners_relation and owners_column go together")
        if row["owners_relation"] and not row["own_column"]:
            _fail(seed, f"{where}: own_column says which column owners_relation gives to owners")
    for key, count in Counter((row["role"], row["relation"]) for row in rows).items():
        if count > 1:
            _fail(seed, f"{key[0]} on {key[1]} stands {count} times; one rule says it all")


#: Seed -> what must hold of it.
RULES: dict[str, Callable[[Sequence[Row], Path], None]] = {
    "platform_features": platform_features,
    "advisor_sub_metrics": advisor_sub_metrics,
    "advisor_tiers": advisor_tiers,
    "advisor_categories": advisor_categories,
    "advisor_triggers": advisor_triggers,
    "agent_scores": agent_scores,
    "agent_grades": agent_grades,
    "agent_areas": agent_areas,
    "alert_rules": alert_rules,
    "campaign_spend": campaign_spend,
    "message_rates": message_rates,
    "alert_policies": alert_policies,
    "monitored_metrics": monitored_metrics,
    "funnels": funnels,
    "business_hours": business_hours,
    "holidays": holidays,
    "identity_placeholders": identity_placeholders,
    "retention": retention,
    "access_rules": access_rules,
}


def judge(project: Path, seeds: Mapping[str, Sequence[Row]]) -> None:
    """Judge every seed and the settings beside them.

    Args:
        project: folder of the dbt project.
        seeds: name of a seed -> its rows, text by column.

    Raises:
        UserError: the first rule that is broken: file, value, and what to write instead.

    """
    for name, rows in seeds.items():
        if name in RULES:
            RULES[name](rows, project)
    judge_variables(_variables(project))
