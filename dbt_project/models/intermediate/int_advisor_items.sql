-- Grain: one row per event date, advisor, kind and item: what an advisor's events were about.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date']])
) }}

with advisory as (
    select * from {{ ref('stg_advisory') }}
),

window_events as (
    select * from advisory
    where {{ in_window('advisory.event_date') }}
),

-- A delay beyond a hundred years is as good as any longer one, and can be added to a timestamp.
item_events as (
    select
        window_events.event_date,
        window_events.advisor_id_hash,
        window_events.occurred_at,
        window_events.event_id,
        kinds.kind,
        case kinds.kind
            when 'content_type' then window_events.content_type
            when 'tier' then 'tier'
            when 'quality_rating' then 'quality_rating'
            when 'feature' then window_events.feature
            when 'forwarded_message' then window_events.original_whatsapp_message_id
            else window_events.entity_id
        end as item,
        case kinds.kind
            when 'tier' then window_events.advisor_tier
            when 'quality_rating' then window_events.quality_rating_before
            when 'decision' then window_events.approval_status
        end as outcome,
        case
            when kinds.kind = 'schedule'
                then
                    window_events.scheduled_delivery_time
                    -- A century at most; a double, because DuckDB multiplies intervals by 32 bits.
                    + cast(
                        least(coalesce(window_events.jitter_offset_seconds, 0), 3155760000)
                        as double precision
                    ) * interval '1 second'
        end as due_at
    from window_events
    inner join (
        values
        ('content_type', 'content_created'),
        ('tier', 'content_created'),
        ('quality_rating', 'whatsapp_message_sent'),
        ('feature', 'advisor_feature_used'),
        ('forwarded_message', 'content_forwarded'),
        ('decision', 'content_approval_result'),
        ('schedule', 'content_scheduled')
    ) as kinds (kind, event_name)
        on window_events.event_name = kinds.event_name
    where
        case kinds.kind
            when 'tier' then window_events.advisor_tier is not null
            when 'quality_rating' then window_events.quality_rating_before is not null
            else true
        end
),

latest_first as (
    select
        item_events.*,
        row_number() over (
            partition by
                item_events.event_date,
                item_events.advisor_id_hash,
                item_events.kind,
                item_events.item
            order by item_events.occurred_at desc, {{ byte_order('item_events.event_id') }} desc
        ) as event_number
    from item_events
)

select
    latest_first.event_date,
    latest_first.advisor_id_hash,
    latest_first.kind,
    latest_first.item,
    latest_first.outcome,
    latest_first.due_at,
    cast({{ business_time('latest_first.due_at') }} as date) as due_date
from latest_first
where latest_first.event_number = 1
