-- Grain: one row per conversion and session it may be due to; without one, one row `direct`.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['conversion_event_id']])
) }}

with conversions as (
    select * from {{ ref('int_attribution_conversions') }}
),

members as (
    select * from {{ ref('int_attribution_members') }}
),

session_days as not materialized (
    select * from {{ ref('int_session_days') }}
),

touched as (
    select
        members.event_date,
        members.conversion_event_id,
        session_days.session_id,
        session_days.session_start_at,
        session_days.user_key_type,
        session_days.user_key,
        session_days.channel,
        {{ decayed_weight('session_days.session_start_at', 'members.converted_at') }} as weight
    from members
    inner join session_days
        on
            members.identifier_type = session_days.user_key_type
            and members.identifier = session_days.user_key
            and members.converted_at >= session_days.session_start_at
            and members.converted_at <= session_days.session_start_at + {{ attribution_window() }}
            and members.event_date >= session_days.event_date
    where
        {{ in_window('members.event_date') }}
        and {{ in_window('session_days.event_date', reach=attribution_reach()) }}
        -- Of a session over midnight, the date on which it began. As an equality, Postgres takes it
        -- for true of hardly any row, and plans for those.
        and session_days.event_date <= session_days.session_date
),

-- A session has one origin, known from the first of its dates that has any.
origins as (
    select
        session_days.*,
        row_number() over (
            partition by session_days.session_id order by session_days.event_date
        ) as origin_number
    from session_days
    where
        {{ in_window('session_days.event_date', reach=attribution_reach()) }}
        and {{ has_origin('session_days') }}
        and session_days.session_id in (select touched.session_id from touched)
),

placed as (
    select
        touched.*,
        {%- for column in campaign_columns() %}
        origins.{{ column }},
        {%- endfor %}
        coalesce(
            origins.utm_source, origins.utm_medium, origins.utm_campaign, origins.referrer
        ) is null as is_direct,
        row_number() over in_order as touch_position,
        count(*) over (partition by touched.conversion_event_id) as touch_count,
        {{ rate(
            'touched.weight', 'sum(touched.weight) over (partition by touched.conversion_event_id)'
        ) }} as decayed_share
    from touched
    left join origins
        on
            touched.session_id = origins.session_id
            and origins.origin_number = 1
            and touched.event_date >= origins.event_date
    window in_order as (
        partition by touched.conversion_event_id
        order by
            touched.session_start_at,
            {{ byte_order('touched.user_key_type') }},
            {{ byte_order('touched.user_key') }},
            {{ byte_order('touched.channel') }}
    )
)

select
    conversions.event_date,
    conversions.conversion_event_id,
    coalesce(placed.session_id, 'direct') as touch_session_id,
    placed.session_start_at,
    {%- for column in campaign_columns() %}
    placed.{{ column }},
    {%- endfor %}
    coalesce(placed.is_direct, true) as is_direct,
    coalesce(placed.touch_position, 1) as touch_position,
    coalesce(placed.touch_count, 1) as touch_count,
    coalesce(
        max(case when not placed.is_direct then placed.touch_position end)
            over (partition by conversions.conversion_event_id),
        placed.touch_count,
        1
    ) as last_non_direct_position,
    coalesce(placed.decayed_share, 1) as decayed_share
from conversions
left join placed on conversions.conversion_event_id = placed.conversion_event_id
where {{ in_window('conversions.event_date') }}
