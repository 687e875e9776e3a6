-- Grain: one row per event that came with campaign parameters, a referrer or a user agent.
{{ config(
    pre_hook="{{ delete_window('metric_date') }}",
    indexes=btree([['metric_date'], ['event_id']])
) }}

with events as (
    select * from {{ ref('stg_events') }}
)

select
    events.event_id,
    events.event_date as metric_date,
    events.utm_source,
    events.utm_medium,
    events.utm_campaign,
    events.utm_term,
    events.utm_content,
    events.referrer,
    {{ url_host('events.referrer') }} as referrer_host,
    events.landing_page,
    events.device_type,
    events.browser,
    events.os
from events
where
    {{ in_window('events.event_date') }}
    -- The door drops the user agent and keeps what it said: never without a device type.
    and coalesce(
        events.utm_source,
        events.utm_medium,
        events.utm_campaign,
        events.utm_term,
        events.utm_content,
        events.referrer,
        events.device_type
    ) is not null
