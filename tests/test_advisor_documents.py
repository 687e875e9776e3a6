"""The advisors' event tracking schema, as its producers write it: nested documents, no envelope.

Eight documents, one per step of a content's life, go through the door as they stand; every value
arrives in its own typed column and nothing is left over in ``extra``.
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ingest.registry import registry
from ingest.settings import Settings
from tests.events import load, query

ADVISOR = "7d1a54127b222502f5b79b5fb0803061152a44f92b37e23c6527baf665d4da9a"
CLIENT = "c7be1ed902fb8dd4d48997c6452f5d7e509fbcdbe2808b16bcf4edce4c07d14e"
CONTENT = "cnt_2026_03_01_0001"
MESSAGE = "wm_8f14e45fceea167a"

DOCUMENTS: dict[str, dict[str, Any]] = {
    "content.created": {
        "timestamp": "2026-03-01T09:15:00.120+05:30",
        "content_id": CONTENT,
        "content_metadata": {
            "content_type": "edu", "platform": "whatsapp", "language": "en",
            "creation_method": "ai_generated", "generation_time_seconds": 4.2,
            "ai_model_used": "writer-large", "template_id": None,
        },
        "compliance_metadata": {
            "initial_risk_score": 18, "requires_approval": True, "compliance_version": "2026.1",
        },
        "advisor_context": {"advisor_tier": "pro", "sebi_registration": "INA000012345"},
    },
    "content.approval_result": {
        "timestamp": "2026-03-01T09:16:30+05:30",
        "content_id": CONTENT,
        "approval_metadata": {
            "approval_status": "approved", "approval_stage": "final", "final_risk_score": 12,
            "reviewer_type": "human_reviewer", "reviewer_id_hash": "rev_41",
        },
        "processing_times": {
            "total_processing_time_seconds": 88.5, "stage_1_rule_validation_time": 0.4,
            "stage_2_ai_analysis_time": 3.1, "stage_3_final_validation_time": 1.2,
            "queue_wait_time_seconds": 83.8,
        },
        "compliance_details": {
            "sebi_violations_detected": 0, "forbidden_terms_count": 0,
            "disclaimer_compliance": True, "risk_factors_identified": ["market_risk"],
        },
    },
    "content.scheduled": {
        "timestamp": "2026-03-01T09:20:00+05:30",
        "content_id": CONTENT,
        "scheduling_metadata": {
            "scheduled_delivery_time": "2026-03-02T06:00:00+05:30", "delivery_group": "group_2",
            "jitter_offset_seconds": 95, "client_count_estimate": 140,
            "expected_delivery_attempts": 140,
        },
        "delivery_preparation": {
            "whatsapp_template_name": "daily_edu_v3", "phone_number_shard": "shard_07",
            "image_url": "https://cdn.example.net/cnt_0001.png", "render_transform_applied": "square",
        },
    },
    "whatsapp.message_sent": {
        "timestamp": "2026-03-02T06:01:40+05:30",
        "content_id": CONTENT,
        "delivery_metadata": {
            "whatsapp_message_id": MESSAGE, "phone_number_used": "shard_07",
            "template_name": "daily_edu_v3", "delivery_attempt_number": 1,
            "api_response_time_ms": 240, "estimated_recipients": 1,
        },
        "batch_information": {
            "delivery_group_id": "dg_2", "batch_sequence": 3, "total_batch_size": 140,
        },
        "quality_metrics": {
            "api_rate_limit_remaining": 870, "quality_rating_before": "high",
            "webhook_delivery_expected": True,
        },
    },
    "whatsapp.delivery_status": {
        "timestamp": "2026-03-02T06:01:52+05:30",
        "content_id": CONTENT,
        "status": "delivered",
        "delivery_details": {
            "whatsapp_message_id": MESSAGE, "recipient_phone_hash": CLIENT,
            "client_anonymized_id": "client_0042", "delivery_time_seconds": 12.0,
            "delivery_attempts_required": 1, "network_carrier": "carrier_a",
        },
        "failure_details": {
            "error_code": None, "error_message": None, "retry_scheduled": False,
            "failure_reason": None,
        },
    },
    "whatsapp.message_read": {
        "timestamp": "2026-03-02T08:30:00+05:30",
        "content_id": CONTENT,
        "read_details": {
            "whatsapp_message_id": MESSAGE, "recipient_phone_hash": CLIENT,
            "time_to_read_minutes": 148.1, "read_during_business_hours": False,
            "read_day_of_week": "monday", "read_hour_of_day": 8,
        },
        "engagement_context": {
            "client_typical_read_delay_minutes": 35.0, "advisor_average_read_delay_minutes": 51.5,
            "platform_average_read_delay_minutes": 64.0,
        },
    },
    "content.forwarded": {
        "timestamp": "2026-03-02T08:41:00+05:30",
        "original_content_id": CONTENT,
        "forward_metadata": {
            "original_whatsapp_message_id": MESSAGE, "forwarding_client_hash": CLIENT,
            "forward_count_estimate": 2, "forward_chain_depth": 1, "time_to_forward_minutes": 159.1,
        },
        "viral_metrics": {
            "content_type": "edu", "content_effectiveness_score": 77,
            "viral_potential_indicator": True,
        },
    },
    "client.response_received": {
        "timestamp": "2026-03-02T09:05:00+05:30",
        "original_content_id": CONTENT,
        "response_metadata": {
            "responding_client_hash": CLIENT, "response_time_hours": 3.05,
            "response_sentiment": "question", "response_indicates_engagement": True,
        },
        "engagement_analysis": {
            "follow_up_question_detected": True, "potential_business_inquiry": True,
            "response_quality_score": 81, "relationship_strength_indicator": "strong",
        },
    },
}  # fmt: skip


def document(name: str) -> dict[str, Any]:
    """Return a document as it is sent; an id is all that is asked for on top."""
    event_id = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    return {"event_id": event_id, "event_name": name, "advisor_id_hash": ADVISOR} | DOCUMENTS[name]


def values_of(name: str) -> dict[str, Any]:
    """Return the values of all nested groups by name, without those that are null."""
    groups = [value for value in DOCUMENTS[name].values() if isinstance(value, dict)]
    return {key: value for group in groups for key, value in group.items() if value is not None}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_nested_document_is_ingested_as_it_stands(
    duckdb_settings: Settings, tmp_path: Path, name: str
) -> None:
    result = load(duckdb_settings, tmp_path / "f.ndjson", json.dumps(document(name)).encode())
    assert (result.accepted, result.rejected) == (1, 0)
    (row,) = query(duckdb_settings, "select * from raw.events")
    event = registry().events[name.replace(".", "_")]
    assert row["event_name"] == event.name
    assert (row["entity_type"], row["entity_id"]) == ("content", CONTENT)
    assert row["advisor_id_hash"] == ADVISOR
    assert row["extra"] is None
    sent = values_of(name)
    assert set(sent) <= set(event.properties)
    for field, value in sent.items():
        stored = row[field]
        if event.properties[field].type == "array":
            assert json.loads(stored) == value, field
        elif event.properties[field].type == "timestamp":
            assert stored == datetime(2026, 3, 2, 0, 30), field
        else:
            assert stored == value, field


def test_all_of_them_in_one_file_on_either_target(settings: Settings, tmp_path: Path) -> None:
    lines = b"\n".join(json.dumps(document(name)).encode() for name in DOCUMENTS)
    result = load(settings, tmp_path / "documents.ndjson", lines)
    assert (result.read, result.accepted) == (8, 8)
    (row,) = query(
        settings,
        "select count(distinct event_name) as events, count(extra) as extra, "
        "count(distinct whatsapp_message_id) as messages, count(user_id) as clients, "
        "min(event_date) as first_date from raw.events",
    )
    assert row == {
        "events": 8,
        "extra": 0,
        "messages": 1,
        # receipt, read, forward and response name the client
        "clients": 4,
        "first_date": datetime(2026, 3, 1).date(),
    }
