-- Grain: one row per session and date with an event of it: what that date adds to the session.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([
        ['event_date'], ['session_id'],
        ['user_key', 'channel', 'user_key_type', 'session_number', 'event_date'],
    ])
) }}

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
        {%- for column in origin_columns() %}
        events.{{ column }},
        {%- endfor %}
        events.device_type,
        events.event_date as session_date,
        events.occurred_at as session_start_at,
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
        keys.user_key_type,
        keys.user_key,
        keys.channel,
        latest.last_at as occurred_at,
        '' as event_id,
        cast(null as text) as event_name,
        {%- for column in origin_columns() %}
        cast(null as text) as {{ column }},
        {%- endfor %}
        cast(null as text) as device_type,
        latest.session_date,
        latest.session_start_at,
        latest.session_number as number_step
    from (
        select distinct
            window_events.user_key_type,
            window_events.user_key,
            window_events.channel
        from window_events
    ) as keys
    cross join lateral (
        select
            past.event_date,
            past.last_at,
            past.session_date,
            past.session_start_at,
            past.session_number
        from {{ this }} as past
        where
            past.user_key = keys.user_key
            and past.channel = keys.channel
            and past.user_key_type = keys.user_key_type
            and {{ before_window('past.event_date') }}
        order by past.session_number desc, past.event_date desc
        limit 1
    ) as latest
    {%- endif %}
),

placed as (
    select
        timeline.*,
        row_number() over in_order as position,
        lag(timeline.occurred_at) over in_order as previous_at
    from timeline
    window in_order as (
        partition by timeline.user_key, timeline.channel, timeline.user_key_type
        order by {{ event_order('timeline') }}
    )
),

started as (
    select
        placed.*,
        coalesce(placed.occurred_at > placed.previous_at + {{ session_timeout() }}, true) as starts
    from placed
),

-- Sessions of a key are counted by their starts; the latest start so far is that of the session.
numbered as (
    select
        started.*,
        max(case when started.starts then started.session_start_at end) over so_far as began_at,
        max(case when started.starts then started.session_date end) over so_far as began_on,
        cast(
            sum(case when started.starts then started.number_step else 0 end) over so_far as bigint
        ) as session_number
    from started
    window so_far as (
        partition by started.user_key, started.channel, started.user_key_type
        order by started.position
        rows between unbounded preceding and current row
    )
),

pieces as (
    select
        numbered.event_date,
        numbered.user_key_type,
        numbered.user_key,
        numbered.channel,
        numbered.session_number,
        numbered.began_on as session_date,
        numbered.began_at as session_start_at,
        min(case when numbered.starts then numbered.occurred_at else numbered.previous_at end)
            as covered_from,
        min(numbered.occurred_at) as first_at,
        max(numbered.occurred_at) as last_at,
        count(*) as event_count,
        {{ first_by('numbered.event_name', 'numbered.position') }} as first_event_name,
        {{ last_by('numbered.event_name', 'numbered.position') }} as last_event_name,
        {%- for column in origin_columns() %}
        {{ first_by('numbered.' ~ column, 'numbered.position', has_origin('numbered')) }}
            as {{ column }},
        {%- endfor %}
        {{ first_by(
            'numbered.device_type', 'numbered.position', 'numbered.device_type is not null'
        ) }} as device_type
    from numbered
    where {{ in_window('numbered.event_date') }}
    group by
        numbered.event_date,
        numbered.user_key_type,
        numbered.user_key,
        numbered.channel,
        numbered.session_number,
        numbered.began_on,
        numbered.began_at
)

select
    pieces.event_date,
    {{ session_id('pieces') }} as session_id,
    pieces.user_key_type,
    pieces.user_key,
    pieces.channel,
    pieces.session_date,
    pieces.session_start_at,
    pieces.session_number,
    pieces.covered_from,
    pieces.first_at,
    pieces.last_at,
    pieces.event_count,
    pieces.first_event_name,
    pieces.last_event_name,
    {%- for column in origin_columns() %}
    pieces.{{ column }},
    {%- endfor %}
    pieces.device_type
from pieces
