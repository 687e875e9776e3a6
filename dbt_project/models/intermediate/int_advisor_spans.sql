-- Grain: one row per advisor, measure, first and last date on which some of its facts count.
{#-
    What a 30-day window counts distinctly, or as known at its end, as spans of dates: a fact counts
    from starts_on to the date before ends_on, so that the count of a date is a running sum of them.
    Not stored: where a span ends, later facts decide.
-#}
{{ config(materialized='ephemeral', contract={'enforced': false}) }}

with items as (
    select * from {{ ref('int_advisor_items') }}
),

days as (
    select * from {{ ref('int_advisor_days') }}
),

message_facts as (
    select * from {{ ref('int_message_facts') }}
),

first_sends as (
    select * from {{ ref('int_content_first_sends') }}
),

measures (kind, outcome, measure) as (
    values
    ('content_type', null, 'content_types'),
    ('feature', null, 'features_adopted'),
    ('forwarded_message', null, 'messages_forwarded'),
    ('decision', null, 'contents_decided'),
    ('decision', 'approved', 'contents_approved'),
    ('schedule', null, 'contents_due'),
    ('schedule', null, 'contents_on_time')
),

-- An item counts for 30 dates, or until the advisor's next event about it takes over.
item_spans as (
    select
        items.*,
        least(
            items.event_date + 30,
            lead(items.event_date) over (
                partition by items.advisor_id_hash, items.kind, items.item
                order by items.event_date
            )
        ) as ends_on
    from items
    where {{ in_window('items.event_date', reach=29) }}
),

spans as (
    select
        item_spans.advisor_id_hash,
        measures.measure,
        case measures.measure
            when 'contents_due' then greatest(item_spans.event_date, item_spans.due_date)
            when 'contents_on_time'
                then greatest(item_spans.event_date, item_spans.due_date, first_sends.sent_date)
            else item_spans.event_date
        end as starts_on,
        item_spans.ends_on,
        1 as amount
    from item_spans
    inner join measures on item_spans.kind = measures.kind
    -- One equality of expressions: with a condition on the left side besides, no engine hashes.
    left join first_sends
        on
            case measures.measure when 'contents_on_time' then item_spans.item end
            = first_sends.content_id
            and first_sends.sent_date < {{ window_end() }}
    where
        (measures.outcome is null or item_spans.outcome = measures.outcome)
        and case measures.measure
            when 'features_adopted'
                then item_spans.item in (
                    select features.feature from {{ ref('platform_features') }} as features
                )
            when 'contents_on_time'
                then
                    {{ milliseconds_between('item_spans.due_at', 'first_sends.sent_at') }}
                    <= {{ var('on_time_tolerance_seconds') | int }} * 1000
            else true
        end
    union all
    select
        message_facts.advisor_id_hash,
        case message_facts.fact
            when 'delivered' then 'delivered_of_sent' else 'read_of_delivered'
        end as measure,
        message_facts.fact_date as starts_on,
        30 + case message_facts.fact
            when 'delivered' then message_facts.sent_date else message_facts.delivered_date
        end as ends_on,
        1 as amount
    from message_facts
    where
        {{ in_window('message_facts.fact_date', reach=29) }}
        and message_facts.fact in ('delivered', 'read')
    union all
    select
        days.advisor_id_hash,
        'dashboard_views' as measure,
        days.event_date as starts_on,
        days.event_date + 7 as ends_on,
        days.dashboard_views as amount
    from days
    where {{ in_window('days.event_date', reach=6) }}
)

select
    spans.advisor_id_hash,
    spans.measure,
    spans.starts_on,
    spans.ends_on,
    sum(spans.amount) as amount
from spans
where spans.starts_on < spans.ends_on
group by spans.advisor_id_hash, spans.measure, spans.starts_on, spans.ends_on
