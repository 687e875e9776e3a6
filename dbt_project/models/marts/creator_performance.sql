-- Grain: one row per metric_date and creator, sparse.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with marketplace as (
    select * from {{ ref('stg_marketplace') }}
),

creator_assets as (
    select * from {{ ref('int_creator_assets') }}
),

keyed as (
    select
        marketplace.event_date as metric_date,
        coalesce(marketplace.creator_id, 'unknown') as creator_id,
        marketplace.event_name,
        marketplace.revenue_cents,
        marketplace.royalty_cents,
        marketplace.currency
    from marketplace
    where {{ in_window('marketplace.event_date') }}
),

counted as (
    select
        keyed.metric_date,
        keyed.creator_id,
        {{ marketplace_views('keyed') }} as views,
        {{ marketplace_clicks('keyed') }} as clicks,
        {{ marketplace_conversions('keyed') }} as conversions,
        {{ marketplace_revenue('keyed') }} as revenue_cents,
        {{ total_where(
            'keyed.royalty_cents',
            "keyed.event_name = 'royalty_calculated' and " ~ is_reported_money('keyed')
        ) }} as royalty_cents
    from keyed
    group by keyed.metric_date, keyed.creator_id
),

-- Assets are cumulative: a date on which a creator only uploaded has no row.
daily as (
    select counted.*
    from counted
    where
        counted.views + counted.clicks + counted.conversions + counted.revenue_cents
        + counted.royalty_cents > 0
),

-- First uploads and the dates asked for on one line: the sum up to a date is what was there then.
steps as (
    select
        creator_assets.creator_id,
        creator_assets.first_date as step_date,
        1 as assets
    from creator_assets
    where
        creator_assets.first_date < {{ window_end() }}
        and creator_assets.creator_id in (select daily.creator_id from daily)
    union all
    select
        daily.creator_id,
        daily.metric_date as step_date,
        0 as assets
    from daily
),

dated_steps as (
    select
        steps.creator_id,
        steps.step_date,
        sum(steps.assets) as assets
    from steps
    group by steps.creator_id, steps.step_date
),

running as (
    select
        dated_steps.creator_id,
        dated_steps.step_date,
        sum(dated_steps.assets) over (
            partition by dated_steps.creator_id
            order by dated_steps.step_date
            rows between unbounded preceding and current row
        ) as assets
    from dated_steps
)

select
    daily.metric_date,
    daily.creator_id,
    cast(running.assets as bigint) as assets,
    daily.views,
    daily.clicks,
    daily.conversions,
    daily.revenue_cents,
    daily.royalty_cents
from daily
inner join running
    on
        daily.creator_id = running.creator_id
        and daily.metric_date = running.step_date
