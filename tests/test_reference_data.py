"""Reference data: what ships is sound, every rule can fail, and a mistake is one clear line."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest.errors import UserError
from ingest.settings import load_settings
from orchestration.dbt_project import PROJECT_DIR, DbtProject
from orchestration.metric_variables import RANGES, judge_variables
from orchestration.reference_data import RULES, judge

Seeds = dict[str, list[dict[str, str]]]


@pytest.fixture
def seeds() -> Seeds:
    """The seeds as they ship, to be spoiled."""
    found = {}
    for name in RULES:
        with (PROJECT_DIR / "seeds" / f"{name}.csv").open(newline="") as file:
            found[name] = list(csv.DictReader(file))
    return found


def test_what_ships_is_sound(seeds: Seeds) -> None:
    seeds["campaign_spend"].append(SPENT)
    judge(PROJECT_DIR, seeds)
    assert len(seeds["advisor_sub_metrics"]) == 12


def _set(name: str, row: int, **values: str) -> Callable[[Seeds], None]:
    return lambda seeds: seeds[name][row].update(values)


def _drop(name: str, row: int) -> Callable[[Seeds], Any]:
    return lambda seeds: seeds[name].pop(row)


def _double(name: str) -> Callable[[Seeds], Any]:
    return lambda seeds: seeds[name].append(dict(seeds[name][0]))


def _add(name: str, row: dict[str, str], **values: str) -> Callable[[Seeds], Any]:
    return lambda seeds: seeds[name].append({**row, **values})


SPENT = {
    "spend_date": "2026-01-31", "utm_source": "ads", "utm_medium": "", "utm_campaign": "spring",
    "amount_cents": "500", "currency": "",
}  # fmt: skip
SUB = "advisor_sub_metrics"
FAULTS: list[tuple[Callable[[Seeds], Any], str]] = [
    (_set(SUB, 0, sub_metric_weight="39"), "content_creation_consistency add up to 99; they must"),
    (_drop(SUB, 3), "sub-metrics of delivery_performance add up to 50"),
    (lambda s: [r.update(component_weight="20") for r in s[SUB][:3]], "components add up to 95"),
    (_set(SUB, 1, component_weight="24"), "content_creation_consistency differs between its rows"),
    (_set(SUB, 0, component="happiness"), "component is 'happiness'; use one of"),
    (
        _set(SUB, 0, component="tier"),
        "component is 'tier'; use one of content_creation_consistency",
    ),
    (_set(SUB, 0, numerator="smiles"), "numerator is 'smiles'; use one of period_days, "),
    (_set(SUB, 0, denominator="smiles"), "denominator is 'smiles'; use one of"),
    (_set(SUB, 0, denominator_number="7"), "needs a denominator or a denominator_number, not both"),
    (_set(SUB, 0, denominator=""), "needs a denominator or a denominator_number, not both"),
    (_set(SUB, 2, denominator_number="0"), "denominator_number of content_variety_score must be"),
    (_set(SUB, 0, shape="round"), "shape is 'round'; use one of ratio, capped, inverted"),
    (_set(SUB, 0, threshold_kind="below"), "threshold_kind is 'below'; use one of above, at_least"),
    (_set(SUB, 6, threshold="75"), "threshold of read_rate_performance is 75; a percentile is a"),
    (_set(SUB, 0, threshold="high"), "threshold is 'high'; write a number"),
    (_set(SUB, 0, sub_metric_weight="0"), "sub_metric_weight of daily_content_creation_rate must"),
    (_double(SUB), "sub_metric 'daily_content_creation_rate' stands 2 times"),
    (lambda s: s["platform_features"].clear(), "there is no feature"),
    (_double("platform_features"), "feature 'content_editor' stands 2 times"),
    (_drop("advisor_tiers", 1), "the bonus of standard is missing"),
    (_set("advisor_tiers", 0, tier="gold"), "tier is 'gold'; use one of basic, standard, pro"),
    (_set("advisor_tiers", 0, bonus="none"), "bonus is 'none'; write a number"),
    (_drop("advisor_categories", 4), "no category begins at 0"),
    (_set("advisor_categories", 0, minimum_score="90.5"), "minimum_score is '90.5'; use a whole"),
    (_set("advisor_categories", 0, minimum_score="80"), "minimum_score '80' stands 2 times"),
    (_set("advisor_triggers", 0, rule="bad_mood"), "rule is 'bad_mood'; use one of score_below"),
    (_set("advisor_triggers", 1, threshold="4"), "is 4; use 1 to 3"),
    (_set("agent_scores", 0, weight="41"), "weights add up to 101; they must add up to 100"),
    (_set("agent_scores", 0, weight="-40"), "weight of quality_score is below 0"),
    (_set("agent_scores", 0, weight="inf"), "weight is 'inf'; write a number"),
    (_set("agent_scores", 0, score="speed"), "score is 'speed'; use one of quality_score"),
    (_drop("agent_scores", 2), "the weight of efficiency_score is missing"),
    (_double("agent_grades"), "grade 'A+' stands 2 times"),
    (_set("agent_grades", 0, minimum_score="90.0"), "minimum_score 90 stands 2 times"),
    (_set("agent_grades", 0, minimum_score="101"), "minimum_score is 101; use a number from 0"),
    (_drop("agent_grades", 6), "no grade begins at 0"),
    (_double("agent_areas"), "code 'satisfaction' stands 2 times"),
    (_set("agent_areas", 1, position="1"), "position '1' stands 2 times"),
    (_set("agent_areas", 1, position="last"), "position is 'last'; use a whole number"),
    (_set("agent_areas", 1, code="a,b"), "code is 'a,b'; commas are"),
    (_set("agent_areas", 0, metric="quality_score"), "metric is 'quality_score'; use one of aver"),
    (_set("agent_areas", 0, strength_comparison="over"), "strength_comparison is 'over'; use one"),
    (_set("agent_areas", 0, improvement_threshold="low"), "improvement_threshold is 'low'; write"),
    (_double("alert_rules"), "rule 'slow_agent_response' stands 2 times"),
    (_set("alert_rules", 0, type="weather"), "type is 'weather'; use one of performance, revenue"),
    (_set("alert_rules", 0, severity="urgent"), "severity is 'urgent'; use one of low, medium"),
    (_set("alert_rules", 0, relation="metrics_daily_moods"), "'metrics_daily_moods'; use one of"),
    (_set("alert_rules", 0, metric="mood"), "metric is 'mood'; use one of total_conversations, "),
    (_set("alert_rules", 0, metric="grade"), "metric is 'grade'; use one of total_conversations"),
    (_set("alert_rules", 0, comparison="equal"), "comparison is 'equal'; use one of above, below"),
    (_set("alert_rules", 0, threshold="nan"), "threshold is 'nan'; write a number"),
    (_set("alert_rules", 2, threshold="0"), "threshold of conversion_drop is a share; it must be"),
    (_set("alert_rules", 0, message=""), "message of slow_agent_response is missing"),
    (_double("alert_policies"), "rule 'slow_agent_response' stands 2 times"),
    (_set("alert_policies", 0, sample_metric="smiles"), "sample_metric of slow_agent_response is"),
    (
        _set("alert_policies", 0, sample_metric=""),
        "needs both a sample_metric and a minimum_sample",
    ),
    (
        _set("alert_policies", 0, minimum_sample="-1"),
        "minimum_sample of slow_agent_response is -1;",
    ),
    (_set("alert_policies", 0, clear_threshold="low"), "clear_threshold is 'low'; write a number"),
    (
        _set("alert_policies", 0, resolve_after_dates="0"),
        "resolve_after_dates of slow_agent_response",
    ),
    (_set("alert_policies", 0, cool_down_dates="1.5"), "is 1.5; use a whole number from 0 on"),
    (_double("monitored_metrics"), "metrics_hourly_activity, events stands 2 times"),
    (_set("monitored_metrics", 0, relation="moods"), "relation is 'moods'; use one of"),
    (_set("monitored_metrics", 0, metric="hour"), "metric is 'hour'; use one of events, active"),
    (_set("monitored_metrics", 0, aggregate="mode"), "aggregate is 'mode'; use one of sum, mean"),
    (
        _set("monitored_metrics", 0, weight="active_users"),
        "weight of events is 'active_users'; only",
    ),
    (_set("monitored_metrics", 6, weight="smiles"), "weight is 'smiles'; use one of"),
    (_set("monitored_metrics", 0, least_spread="0"), "least_spread of events must be above 0"),
    (_add("campaign_spend", SPENT, spend_date="31.01.2026"), "spend_date is '31.01.2026'; write a"),
    (_add("campaign_spend", SPENT, amount_cents="-1"), "amount_cents is '-1'; write a whole"),
    (_add("campaign_spend", SPENT, currency="usd"), "is 'usd'; write 3 capitals or nothing"),
    (_double("message_rates"), "regular, marketing, *, 2025-01-01 stands 2 times; each date"),
    (_set("message_rates", 0, pricing_type=""), "pricing_type is missing; write it as events do"),
    (_set("message_rates", 0, category=""), "category is missing; write it as events do"),
    (_set("message_rates", 0, country_code="in"), "is 'in'; write 2 capitals or *"),
    (_set("message_rates", 0, valid_from=""), "valid_from is ''; write a date"),
    (_set("message_rates", 0, price_micros="0.1"), "price_micros is '0.1'; write a whole number"),
    (_set("message_rates", 0, currency=""), "currency is ''; write 3 capitals"),
    (_set("funnels", 0, step="5"), "steps of order_to_payment are 5, 2"),
    (_set("funnels", 0, step="first"), "step is 'first'; use whole numbers"),
    (_double("funnels"), "steps of order_to_payment are 1, 2"),
    (_set("funnels", 0, funnel=""), "funnel is missing"),
    (_set("funnels", 0, event_name="page_seen"), "event_name is 'page_seen'; use one of"),
    (_set("funnels", 0, window_hours="1"), "all steps need the same, above 0"),
    (_set("funnels", 0, window_hours="a day"), "window_hours is 'a day'; write a number"),
    (
        lambda s: [row.update(window_hours="0") for row in s["funnels"]],
        "window_hours of order_to_payment is 0; all steps need the same, above 0",
    ),
    (_set("business_hours", 0, weekday="0"), "weekday is '0'; use 1 for Monday"),
    (_set("business_hours", 0, opens_at="9:00"), "opens_at is '9:00'; write a time as 09:00"),
    (_set("business_hours", 0, opens_at="24:00"), "opens_at is '24:00'; write a time"),
    (_set("business_hours", 0, closes_at="18"), "closes_at is '18'; write a time"),
    (_set("business_hours", 0, opens_at="19:00"), "an opening ends later on the same day"),
    (_double("business_hours"), "before it has closed; openings of a weekday may not overlap"),
    (_add("holidays", {"date": "Christmas"}), "date is 'Christmas'; write a date as 2026-01-31"),
    (_add("holidays", {"date": ""}), "date is ''; write a date"),
    (_set("identity_placeholders", 0, identifier_type="name"), "identifier_type is 'name'; use"),
    (_double("retention"), "what 'raw_events' stands 2 times"),
    (_drop("retention", 0), "the row of raw_events is missing"),
    (_set("retention", 0, kept_days="0"), "kept_days of raw_events is '0'; write days from 1"),
    (_set("retention", 0, kept_days="90 days"), "kept_days of raw_events is '90 days'; write"),
    (_set("retention", 5, what="metrics_dayly_*"), "there is no relation 'metrics_dayly_*'; name"),
    (_set("retention", 5, what="int_order_events"), "remove rows of int_order_events that later"),
    (_set("retention", 5, what="time*"), "would remove rows of timeline_events that later dates"),
    (_set("retention", 5, what="conv*"), "would remove rows of conversations that later dates"),
    (_set("retention", 2, kept_days="89"), "loads are kept for 89 days and raw_events longer"),
    (_set("retention", 1, kept_days=""), "loads are kept for 365 days and quarantine longer"),
]


@pytest.mark.parametrize(("spoil", "words"), FAULTS, ids=[words[:50] for _, words in FAULTS])
def test_each_rule_can_fail(seeds: Seeds, spoil: Callable[[Seeds], Any], words: str) -> None:
    spoil(seeds)
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        judge(PROJECT_DIR, seeds)
    assert re.match(r"\w+\.csv: ", str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("peer_weight", 1.5, "peer_weight is 1.5; use a number from 0 to 1"),
        ("peer_weight", "half", "peer_weight is 'half'; use a number"),
        ("min_peer_group_size", 4.5, "min_peer_group_size is 4.5; use a whole number from 1 on"),
        ("min_peer_group_size", True, "min_peer_group_size is True; use a whole number"),
        (
            "attribution_end_share",
            0.51,
            "attribution_end_share is 0.51; use a number from 0 to 0.5",
        ),
        (
            "churn_prior",
            {"shape": 1, "scale_days": 0},
            "scale_days of churn_prior is 0; use a number",
        ),
        ("churn_prior", {"shape": 1e400}, "shape of churn_prior is inf; use a number above 0"),
        ("churn_prior", "strong", "churn_prior is 'strong'; use a number above 0"),
        ("anomaly_threshold", "far", "anomaly_threshold is 'far'; use a number from 0 on"),
    ],
)
def test_settings_beside_the_seeds_are_judged(name: str, value: Any, words: str) -> None:
    shipped = yaml.safe_load((PROJECT_DIR / "dbt_project.yml").read_text())["vars"]
    assert RANGES.keys() <= shipped.keys()
    judge_variables(shipped)
    with pytest.raises(UserError, match=re.escape(f"dbt_project.yml: {words}")):
        judge_variables(shipped | {name: value})


@pytest.mark.parametrize("name", RANGES)
def test_a_number_below_the_least_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is"):
        judge_variables({name: RANGES[name].least - 1})


def test_a_file_of_the_users_is_judged_before_anything_runs(tmp_path: Path) -> None:
    theirs = tmp_path / "seeds"
    theirs.mkdir()
    shutil.copy(PROJECT_DIR / "seeds" / "advisor_tiers.csv", theirs)
    environment = {"TIDEMARK_HOME": str(tmp_path / "home"), "TIDEMARK_SEEDS": str(theirs)}
    DbtProject(load_settings(environment)).ensure_manifest()
    (theirs / "advisor_tiers.csv").write_text("tier,bonus\nbasic,0\n")
    with pytest.raises(UserError, match=r"advisor_tiers\.csv: the bonus of pro, standard"):
        DbtProject(load_settings(environment)).ensure_manifest()
