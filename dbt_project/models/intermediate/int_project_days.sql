-- Grain: one row per project and date on which it was seen, earned money or got a budget.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['project_id', 'event_date']])
) }}

with marketplace as not materialized (
    select * from {{ ref('stg_marketplace') }}
),

created as (
    select
        marketplace.event_date,
        marketplace.project_id,
        marketplace.budget_cents,
        row_number() over (
            partition by marketplace.project_id, marketplace.event_date
            order by marketplace.occurred_at desc, {{ byte_order('marketplace.event_id') }} desc
        ) as number_from_last
    from marketplace
    where
        {{ in_window('marketplace.event_date') }}
        and marketplace.event_name = 'project_created'
),

counted as (
    select
        marketplace.event_date,
        coalesce(marketplace.project_id, 'unknown') as project_id,
        {{ marketplace_views('marketplace') }} as impressions,
        {{ marketplace_clicks('marketplace') }} as clicks,
        {{ marketplace_conversions('marketplace') }} as conversions,
        {{ marketplace_revenue('marketplace') }} as revenue_cents
    from marketplace
    where {{ in_window('marketplace.event_date') }}
    group by marketplace.event_date, coalesce(marketplace.project_id, 'unknown')
),

window_days as (
    select
        counted.*,
        created.budget_cents as told_budget_cents,
        created.project_id is not null as tells_budget
    from counted
    left join created
        on
            counted.event_date = created.event_date
            and counted.project_id = created.project_id
            and created.number_from_last = 1
    where
        counted.impressions + counted.clicks + counted.conversions + counted.revenue_cents > 0
        or created.project_id is not null
),

{%- if is_incremental() %}

-- Where each project stood before the window, in one row.
past as (
    select
        past.event_date,
        past.project_id,
        past.cumulative_revenue_cents,
        past.budget_cents,
        row_number() over (partition by past.project_id order by past.event_date desc)
            as number_from_last
    from {{ this }} as past
    where
        {{ before_window('past.event_date') }}
        and {{ is_key_of('project_id', of='window_days') }}
),
{%- endif %}

days as (
    select * from window_days
    {%- if is_incremental() %}
    union all
    select
        past.event_date,
        past.project_id,
        {{ listed(['impressions', 'clicks', 'conversions'], '0 as {name}') }},
        past.cumulative_revenue_cents as revenue_cents,
        past.budget_cents as told_budget_cents,
        true as tells_budget
    from past
    where past.number_from_last = 1
    {%- endif %}
),

running as (
    select
        days.*,
        sum(days.revenue_cents) over up_to_day as cumulative_revenue_cents,
        {{ count_where('days.tells_budget') }} over up_to_day as budget_number
    from days
    window up_to_day as (
        partition by days.project_id
        order by days.event_date
        rows between unbounded preceding and current row
    )
),

-- The latest budget holds until the next one is told, be it null.
known as (
    select
        running.*,
        max(running.told_budget_cents)
            over (partition by running.project_id, running.budget_number) as budget_cents
    from running
)

select
    {{ listed([
        'event_date', 'project_id', 'impressions', 'clicks', 'conversions', 'revenue_cents',
    ], 'known.{name}') }},
    cast(known.cumulative_revenue_cents as bigint) as cumulative_revenue_cents,
    known.budget_cents
from known
where {{ in_window('known.event_date') }}
