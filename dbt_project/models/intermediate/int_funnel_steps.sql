-- Grain: one row per entry of a user into a funnel and step that the user reached.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

{% set entry = ['metric_date', 'entry_date', 'funnel', 'window_ms'] -%}
with recursive calendar as (
    select * from {{ ref('int_calendar') }}
),

funnels as (
    select * from {{ ref('funnels') }}
),

roles as (
    select * from {{ ref('int_funnel_roles') }}
),

events as not materialized (
    select * from {{ ref('int_funnel_events') }}
    where event_date < {{ window_end() }}
),

-- An entry date comes up once for each funnel: on the date on which its window is over.
due as (
    select
        calendar.calendar_date as metric_date,
        calendar.calendar_date
        - cast(ceil({{ rate('funnels.window_hours', 24) }}) as integer) as entry_date,
        funnels.funnel,
        funnels.event_name,
        cast(round(funnels.window_hours * 3600000) as bigint) as window_ms
    from calendar
    inner join funnels on funnels.step = 1
    where {{ in_window('calendar.calendar_date') }}
),

-- Events of the users who entered, in order.
numbered as (
    select
        events.*,
        row_number() over (partition by events.user_id order by {{ event_order('events') }})
            as event_number
    from events
    where
        events.event_date >= (select min(due.entry_date) from due)
        and events.user_id in (
            select begun.user_id
            from events as begun
            inner join due
                on begun.event_date = due.entry_date and begun.event_name = due.event_name
            where begun.event_date >= (select min(dated.entry_date) from due as dated)
        )
),

-- The first later event that takes a user on, for each event from which it may.
links as materialized (
    select
        roles.funnel,
        roles.step,
        roles.is_from,
        numbered.user_id,
        numbered.event_number,
        min(case when roles.is_to = 1 then numbered.event_number end) over following as next_number,
        min(case when roles.is_to = 1 then numbered.occurred_at end) over following as next_at,
        min(case when roles.is_to = 1 then numbered.event_date end) over following as next_date
    from numbered
    inner join roles on numbered.event_name = roles.event_name
    -- Backwards, so that the frame grows: one that shrinks takes Postgres quadratic time.
    window following as (
        partition by numbered.user_id, roles.funnel, roles.step
        order by numbered.event_number desc
        rows between unbounded preceding and 1 preceding
    )
),

reached as (
    select
        {{ listed(entry, 'due.{name}') }},
        numbered.user_id,
        1 as step,
        min(numbered.event_number) as event_number,
        min(numbered.occurred_at) as entered_at,
        min(numbered.occurred_at) as reached_at,
        cast(null as bigint) as step_ms
    from due
    inner join numbered
        on due.entry_date = numbered.event_date and due.event_name = numbered.event_name
    group by {{ listed(entry, 'due.{name}') }}, numbered.user_id
    union all
    select
        {{ listed(entry, 'reached.{name}') }},
        reached.user_id,
        links.step,
        links.next_number as event_number,
        reached.entered_at,
        links.next_at as reached_at,
        {{ milliseconds_between('reached.reached_at', 'links.next_at') }} as step_ms
    from reached
    inner join links
        on
            reached.funnel = links.funnel
            and reached.step + 1 = links.step
            and reached.user_id = links.user_id
            and reached.event_number = links.event_number
            and links.is_from = 1
    where
        {{ milliseconds_between('reached.entered_at', 'links.next_at') }} <= reached.window_ms
        -- Where clocks change a window may end a date later than the row may know of.
        and links.next_date <= reached.metric_date
)

select
    reached.metric_date,
    reached.funnel,
    reached.entry_date,
    reached.user_id,
    reached.step,
    reached.reached_at,
    reached.step_ms
from reached
