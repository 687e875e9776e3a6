-- Grain: one row per event date and advisor with an advisory event or a first message fact.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date']])
) }}

with advisory as (
    select * from {{ ref('stg_advisory') }}
),

items as (
    select * from {{ ref('int_advisor_items') }}
),

message_facts as (
    select * from {{ ref('int_message_facts') }}
),

{% set parts = {
    'event_counts': [
        'advisory_events', 'contents_created', 'responses', 'dashboard_views', 'tickets'
    ],
    'item_counts': [
        'content_types', 'contents_decided', 'contents_approved', 'messages_forwarded',
        'features_used'
    ],
    'fact_counts': ['messages_sent', 'messages_delivered', 'messages_read', 'messages_failed'],
} -%}
event_counts as (
    select
        advisory.event_date,
        advisory.advisor_id_hash,
        count(*) as advisory_events,
        {{ count_where("advisory.event_name = 'content_created'") }} as contents_created,
        {{ count_where("advisory.event_name = 'client_response_received'") }} as responses,
        {{ count_where("advisory.event_name = 'advisor_dashboard_viewed'") }} as dashboard_views,
        {{ count_where("advisory.event_name = 'support_ticket_opened'") }} as tickets
    from advisory
    where {{ in_window('advisory.event_date') }}
    group by advisory.event_date, advisory.advisor_id_hash
),

item_counts as (
    select
        items.event_date,
        items.advisor_id_hash,
        {{ count_where("items.kind = 'content_type'") }} as content_types,
        {{ count_where("items.kind = 'decision'") }} as contents_decided,
        {{ count_where("items.kind = 'decision' and items.outcome = 'approved'") }}
            as contents_approved,
        {{ count_where("items.kind = 'forwarded_message'") }} as messages_forwarded,
        {{ count_where("items.kind = 'feature'") }} as features_used,
        max(case when items.kind = 'quality_rating' then items.outcome end) as last_quality_rating
    from items
    where {{ in_window('items.event_date') }}
    group by items.event_date, items.advisor_id_hash
),

fact_counts as (
    select
        message_facts.fact_date as event_date,
        message_facts.advisor_id_hash,
        {{ count_where("message_facts.fact = 'sent'") }} as messages_sent,
        {{ count_where("message_facts.fact = 'delivered'") }} as messages_delivered,
        {{ count_where("message_facts.fact = 'read'") }} as messages_read,
        {{ count_where("message_facts.fact = 'failed'") }} as messages_failed
    from message_facts
    where {{ in_window('message_facts.fact_date') }}
    group by message_facts.fact_date, message_facts.advisor_id_hash
),

-- A message fact may come from an event of another advisor: either side may be alone.
advisor_days as (
    select
        event_counts.event_date,
        event_counts.advisor_id_hash
    from event_counts
    union
    select
        fact_counts.event_date,
        fact_counts.advisor_id_hash
    from fact_counts
)

select
    advisor_days.event_date,
    advisor_days.advisor_id_hash,
    {%- for part, counts in parts.items() %}
    {{ listed(counts, 'coalesce(' ~ part ~ '.{name}, 0) as {name}') }},
    {%- endfor %}
    cast(case when event_counts.contents_created > 0 then 1 else 0 end as bigint) as content_days,
    cast(case when item_counts.last_quality_rating is null then 0 else 1 end as bigint)
        as quality_rated_days,
    cast(case when item_counts.last_quality_rating = 'high' then 1 else 0 end as bigint)
        as quality_high_days,
    item_counts.last_quality_rating
from advisor_days
left join event_counts
    on
        advisor_days.event_date = event_counts.event_date
        and advisor_days.advisor_id_hash = event_counts.advisor_id_hash
left join item_counts
    on
        advisor_days.event_date = item_counts.event_date
        and advisor_days.advisor_id_hash = item_counts.advisor_id_hash
left join fact_counts
    on
        advisor_days.event_date = fact_counts.event_date
        and advisor_days.advisor_id_hash = fact_counts.advisor_id_hash
