-- Grain: one row per session.
{{ config(
    pre_hook="{{ delete_changed_sessions() }}",
    post_hook="{{ delete_cut_sessions() }}",
    indexes=btree([
        ['session_id'], ['session_date'], ['session_end_date'],
        ['user_key', 'channel', 'user_key_type', 'session_start_at'],
    ])
) }}

{% set key = [
    'session_id', 'user_key_type', 'user_key', 'channel', 'session_date', 'session_start_at',
    'session_number',
] -%}
with session_days as not materialized (
    select * from {{ ref('int_session_days') }}
),

conversions as not materialized (
    select * from {{ ref('int_session_conversions') }}
),

-- Sessions that may have dates on the other side of an edge of the window, and those that reached
-- over its start when it was run before and no longer do.
over_the_edge as (
    select distinct
        session_days.session_id,
        session_days.session_date
    from session_days
    where
        {{ in_window('session_days.event_date') }}
        and (
            {{ before_window('session_days.session_date') }}
            or session_days.event_date >= {{ window_end() }} - {{ session_reach() }}
        )
    {%- if is_incremental() %}
    union
    select
        cut.session_id,
        cut.session_date
    from {{ this }} as cut
    where {{ is_cut('cut') }}
    {%- endif %}
),

-- Later dates count where they are current: running an interior date again cuts nothing off. A
-- planner has to be told that no session reaches back through all of history.
known_days as (
    select session_days.*
    from session_days
    where {{ in_window('session_days.event_date') }}
    union all
    select session_days.*
    from session_days
    inner join over_the_edge
        on
            session_days.session_id = over_the_edge.session_id
            and session_days.session_date = over_the_edge.session_date
    where
        session_days.event_date >= (select min(edge.session_date) from over_the_edge as edge)
        and session_days.event_date < {{ known_end() }}
        and not ({{ in_window('session_days.event_date') }})
),

converted as (
    select conversions.session_id
    from conversions
    where {{ in_window('conversions.event_date') }}
    union
    select conversions.session_id
    from conversions
    inner join over_the_edge on conversions.session_id = over_the_edge.session_id
    where
        conversions.event_date >= (select min(edge.session_date) from over_the_edge as edge)
        and conversions.event_date < {{ known_end() }}
),

sessions as (
    select
        {{ listed(key, 'known_days.{name}') }},
        max(known_days.last_at) as session_end_at,
        {{ total('known_days.event_count') }} as event_count,
        {{ first_by('known_days.first_event_name', 'known_days.event_date') }} as first_event_name,
        {{ last_by('known_days.last_event_name', 'known_days.event_date') }} as last_event_name,
        {%- for column in origin_columns() %}
        {{ first_by('known_days.' ~ column, 'known_days.event_date', has_origin('known_days')) }}
            as {{ column }},
        {%- endfor %}
        {{ first_by(
            'known_days.device_type', 'known_days.event_date', 'known_days.device_type is not null'
        ) }} as device_type,
        max(known_days.event_date) as session_end_date
    from known_days
    group by {{ listed(key, 'known_days.{name}') }}
)

select
    sessions.session_id,
    sessions.user_key_type,
    sessions.user_key,
    sessions.channel,
    sessions.session_date,
    sessions.session_start_at,
    sessions.session_end_at,
    {{ rate(milliseconds_between('sessions.session_start_at', 'sessions.session_end_at'), 1000) }}
        as duration_seconds,
    sessions.event_count,
    sessions.session_number,
    sessions.first_event_name,
    sessions.last_event_name,
    {%- for column in origin_columns() %}
    sessions.{{ column }},
    {%- endfor %}
    sessions.device_type,
    sessions.event_count = 1 as is_bounce,
    converted.session_id is not null as has_conversion,
    sessions.session_end_date
from sessions
left join converted on sessions.session_id = converted.session_id
