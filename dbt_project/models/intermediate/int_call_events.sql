-- Grain: one row per event of a call, with what was known of the call at that event.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['call_id']])
) }}

with calls as (
    select * from {{ ref('stg_calls') }}
),

window_events as (
    select
        calls.event_date,
        calls.entity_id as call_id,
        calls.occurred_at,
        calls.event_id,
        calls.event_name,
        calls.status,
        calls.service_code,
        calls.provider,
        calls.duration_seconds,
        calls.recorded as is_recorded
    from calls
    where {{ in_window('calls.event_date') }}
),

-- The whole past of the calls touched in the window, from this model's own narrow rows.
call_events as (
    select * from window_events
    {%- if is_incremental() %}
    union all
    select
        past.event_date,
        past.call_id,
        past.occurred_at,
        past.event_id,
        past.event_name,
        past.status,
        past.service_code,
        past.provider,
        past.duration_seconds,
        past.is_recorded
    from {{ this }} as past
    where
        {{ before_window('past.event_date') }}
        and {{ is_key_of('call_id', of='window_events') }}
    {%- endif %}
),

known as (
    select
        call_events.*,
        {{ first_known('call_events.service_code', 'call_events', 'up_to_event') }}
            as known_service_code,
        {{ first_known('call_events.provider', 'call_events', 'up_to_event') }}
            as known_provider,
        min(case when call_events.event_name = 'call_started' then call_events.occurred_at end)
            over up_to_event as started_at
    from call_events
    window up_to_event as ({{ up_to_event('call_events', 'call_id') }})
)

select
    known.event_date,
    known.call_id,
    known.occurred_at,
    known.event_id,
    known.event_name,
    known.status,
    known.known_service_code as service_code,
    known.known_provider as provider,
    known.duration_seconds,
    known.is_recorded,
    case
        when known.event_name = 'call_answered'
            then {{ milliseconds_between('known.started_at', 'known.occurred_at') }}
    end as ring_ms
from known
where {{ in_window('known.event_date') }}
