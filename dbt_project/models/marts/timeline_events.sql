-- Grain: one row per event with a user key.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['user_key_hash']])
) }}

with events as (
    select * from {{ ref('stg_events') }}
),

session_days as (
    select * from {{ ref('int_session_days') }}
    where {{ in_window('event_date') }}
),

keyed_events as (
    select
        events.event_date,
        case when events.user_id is null then 'anonymous_id' else 'user_id' end as user_key_type,
        coalesce(events.user_id, events.anonymous_id) as user_key,
        events.occurred_at,
        events.event_id,
        events.channel,
        events.event_name,
        case when events.is_session then events.channel end as session_channel
    from events
    where
        {{ in_window('events.event_date') }}
        and coalesce(events.user_id, events.anonymous_id) is not null
)

-- Pieces of sessions of one key and channel do not overlap within a date.
select
    keyed_events.event_date,
    cast(keyed_events.user_key_type as text) as user_key_type,
    keyed_events.user_key,
    keyed_events.occurred_at,
    keyed_events.event_id,
    keyed_events.channel,
    keyed_events.event_name,
    session_days.session_id,
    {{ key_hash('keyed_events.user_key_type', 'keyed_events.user_key') }} as user_key_hash
from keyed_events
left join session_days
    on
        keyed_events.event_date = session_days.event_date
        and keyed_events.user_key = session_days.user_key
        and keyed_events.session_channel = session_days.channel
        and keyed_events.user_key_type = session_days.user_key_type
        and keyed_events.occurred_at >= session_days.first_at
        and keyed_events.occurred_at <= session_days.last_at
