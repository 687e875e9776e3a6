-- Grain: one row per metric_date and advisor with an advisory event or a first message fact.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with days as (
    select * from {{ ref('int_advisor_days') }}
)

select
    days.event_date as metric_date,
    days.advisor_id_hash,
    days.contents_created,
    days.content_types,
    days.contents_decided,
    days.contents_approved,
    days.messages_sent,
    days.messages_delivered,
    days.messages_read,
    days.messages_failed,
    days.responses,
    days.messages_forwarded,
    days.features_used,
    days.dashboard_views,
    days.tickets,
    days.last_quality_rating,
    days.advisory_events
from days
where {{ in_window('days.event_date') }}
