-- Grain: one row per session and date with an event of it: what that date adds to the session.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([
        ['event_date'], ['session_id'], session_key() + ['session_number', 'event_date']
    ])
) }}

{% set session = ['session_number', 'session_date', 'session_start_at'] -%}

with events as (
    select * from {{ ref('stg_events') }}
),

window_events as (
    select
        events.event_date,
        case when events.user_id is null then 'anonymous_id' else 'user_id' end as user_key_type,
        {{ stored_text('coalesce(events.user_id, events.anonymous_id)') }} as user_key,
        {{ stored_text('events.channel') }} as channel,
        events.occurred_at,
        events.event_id,
        events.event_name,
        {{ listed(origin_columns(), 'events.{name}') }},
        events.device_type,
        events.event_date as start_date,
        events.occurred_at as start_at,
        cast(1 as bigint) as number_step
    from events
    where
        {{ in_window('events.event_date') }}
        and events.is_session
        and coalesce(events.user_id, events.anonymous_id) is not null
),

-- Before the events of a key stands its latest session so far, however long ago that was, as one
-- event at its end.
timeline as (
    select * from window_events
    {%- if is_incremental() %}
    union all
    select
        latest.event_date,
        latest.user_key_type,
        latest.user_key,
        latest.channel,
        latest.last_at as occurred_at,
        '' as event_id,
        {{ listed(
            ['event_name'] + origin_columns() + ['device_type'], 'cast(null as text) as {name}'
        ) }},
        latest.session_date as start_date,
        latest.session_start_at as start_at,
        latest.session_number as number_step
    from ({{ latest_sessions_before_window(of='window_events') }}) as latest
    {%- endif %}
),

placed as (
    select
        timeline.*,
        row_number() over in_order as position,
        lag(timeline.occurred_at) over in_order as previous_at,
        coalesce(
            timeline.occurred_at
            > lag(timeline.occurred_at) over in_order + {{ session_timeout() }},
            true
        ) as starts
    from timeline
    window in_order as (
        partition by {{ listed(session_key(), 'timeline.{name}') }}
        order by {{ event_order('timeline') }}
    )
),

-- Sessions of a key are counted by their starts; the latest start so far is that of the session.
numbered as (
    select
        placed.*,
        max(placed.start_at) filter (where placed.starts) over so_far as session_start_at,
        max(placed.start_date) filter (where placed.starts) over so_far as session_date,
        cast(sum(placed.number_step) filter (where placed.starts) over so_far as bigint)
            as session_number
    from placed
    window so_far as (
        partition by {{ listed(session_key(), 'placed.{name}') }}
        order by placed.position
        rows between unbounded preceding and current row
    )
)

select
    numbered.event_date,
    {{ session_id('numbered') }} as session_id,
    {{ listed(session_key() + session, 'numbered.{name}') }},
    min(case when numbered.starts then numbered.occurred_at else numbered.previous_at end)
        as covered_from,
    min(numbered.occurred_at) as first_at,
    max(numbered.occurred_at) as last_at,
    count(*) as event_count,
    {{ first_by('numbered.event_name', 'numbered.position') }} as first_event_name,
    {{ last_by('numbered.event_name', 'numbered.position') }} as last_event_name,
    {{ listed(
        origin_columns(),
        first_by('numbered.{name}', 'numbered.position', has_origin('numbered')) ~ ' as {name}'
    ) }},
    {{ first_by('numbered.device_type', 'numbered.position', 'numbered.device_type is not null') }}
        as device_type
from numbered
where {{ in_window('numbered.event_date') }}
group by numbered.event_date, {{ listed(session_key() + session, 'numbered.{name}') }}
