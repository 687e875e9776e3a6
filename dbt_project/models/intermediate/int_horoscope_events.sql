-- Grain: one row per upload or approval of a horoscope.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['horoscope_id']])
) }}

with content as (
    select * from {{ ref('stg_content') }}
),

window_events as (
    select
        content.event_date,
        content.entity_id as horoscope_id,
        content.occurred_at,
        content.event_id,
        content.event_name
    from content
    where
        {{ in_window('content.event_date') }}
        and content.event_name in ('horoscope_uploaded', 'horoscope_approved')
),

-- The whole past of the items touched in the window, from this model's own narrow rows.
horoscope_events as (
    select * from window_events
    {%- if is_incremental() %}
    union all
    select
        past.event_date,
        past.horoscope_id,
        past.occurred_at,
        past.event_id,
        past.event_name
    from {{ this }} as past
    where
        {{ before_window('past.event_date') }}
        and {{ is_key_of('horoscope_id', of='window_events') }}
    {%- endif %}
),

known as (
    select
        horoscope_events.*,
        {{ count_where("horoscope_events.event_name = 'horoscope_approved'") }} over up_to_event
            as approvals,
        min(
            case
                when horoscope_events.event_name = 'horoscope_uploaded'
                    then horoscope_events.occurred_at
            end
        ) over up_to_event as uploaded_at
    from horoscope_events
    window up_to_event as ({{ up_to_event('horoscope_events', 'horoscope_id') }})
)

select
    known.event_date,
    known.horoscope_id,
    known.occurred_at,
    known.event_id,
    known.event_name,
    case
        when known.event_name = 'horoscope_approved' and known.approvals = 1
            then {{ milliseconds_between('known.uploaded_at', 'known.occurred_at') }}
    end as approval_latency_ms
from known
where {{ in_window('known.event_date') }}
