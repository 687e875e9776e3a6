-- Grain: one row per date, position and pair of events, the 50 with most people on each date.
{{ config(pre_hook="{{ delete_window('metric_date') }}") }}

with timeline_events as (
    select * from {{ ref('timeline_events') }}
),

persons as (
    select * from {{ ref('int_identity_persons') }}
),

-- The first time of each event of a user key on a date: a path does not come back to where it was.
key_touches as (
    select
        timeline_events.event_date,
        timeline_events.user_key_type,
        timeline_events.user_key,
        timeline_events.event_name,
        min({{ byte_order('(' ~ event_place('timeline_events') ~ ')') }}) as first_touch
    from timeline_events
    where {{ in_window('timeline_events.event_date') }} and timeline_events.session_id is not null
    group by
        timeline_events.event_date,
        timeline_events.user_key_type,
        timeline_events.user_key,
        timeline_events.event_name
),

-- The person of a key as known at the end of the date; never joined, it is its own.
key_persons as (
    select
        keys.event_date,
        keys.user_key_type,
        keys.user_key,
        coalesce(
            persons.person_id, {{ person_hash('keys.user_key_type', 'keys.user_key') }}
        ) as person_id,
        row_number() over (
            partition by keys.event_date, keys.user_key_type, keys.user_key
            order by persons.event_date desc
        ) as age
    from (
        select distinct
            key_touches.event_date,
            key_touches.user_key_type,
            key_touches.user_key
        from key_touches
    ) as keys
    left join persons
        on
            keys.user_key = persons.identifier
            and keys.user_key_type = persons.identifier_type
            and keys.event_date >= persons.event_date
            and persons.event_date < {{ window_end() }}
),

touches as (
    select
        key_touches.event_date,
        key_persons.person_id,
        key_touches.event_name,
        min({{ byte_order('key_touches.first_touch') }}) as first_touch
    from key_touches
    inner join key_persons
        on
            key_touches.event_date = key_persons.event_date
            and key_touches.user_key = key_persons.user_key
            and key_touches.user_key_type = key_persons.user_key_type
            and key_persons.age = 1
    group by key_touches.event_date, key_persons.person_id, key_touches.event_name
),

steps as (
    select
        touches.event_date,
        row_number() over in_order as position,
        coalesce(lag(touches.event_name) over in_order, 'entry') as from_event,
        touches.event_name as to_event
    from touches
    window in_order as (
        partition by touches.event_date, touches.person_id
        order by {{ byte_order('touches.first_touch') }}
    )
),

paths as (
    select
        steps.event_date as metric_date,
        steps.position,
        steps.from_event,
        steps.to_event,
        count(*) as people,
        row_number() over (
            partition by steps.event_date
            order by
                count(*) desc,
                steps.position,
                {{ byte_order('steps.from_event') }},
                {{ byte_order('steps.to_event') }}
        ) as place
    from steps
    group by steps.event_date, steps.position, steps.from_event, steps.to_event
)

select
    paths.metric_date,
    paths.position,
    paths.from_event,
    paths.to_event,
    paths.people
from paths
where paths.place <= 50
