-- Grain: one row per date, scope and the three refs; scope platform dense, scope entity sparse.
{{ config(pre_hook="{{ delete_window('date') }}", indexes=btree([['date']])) }}

with calendar as (
    select * from {{ ref('int_calendar') }}
),

marketplace as not materialized (
    select * from {{ ref('stg_marketplace') }}
),

-- Every event twice: whoever visits two entities is two visitors of entities and one of the
-- platform, so that neither can be added up from the other.
scoped as (
    select
        marketplace.event_date,
        'entity' as scope,
        coalesce(marketplace.project_id, 'unknown') as project_id,
        coalesce(marketplace.ip_asset_id, 'unknown') as ip_asset_id,
        coalesce(marketplace.license_id, 'unknown') as license_id,
        marketplace.event_name,
        marketplace.is_activity,
        marketplace.user_id,
        marketplace.anonymous_id,
        marketplace.revenue_cents,
        marketplace.currency,
        marketplace.engagement_seconds
    from marketplace
    where {{ in_window('marketplace.event_date') }}
    union all
    select
        marketplace.event_date,
        'platform' as scope,
        'all' as project_id,
        'all' as ip_asset_id,
        'all' as license_id,
        marketplace.event_name,
        marketplace.is_activity,
        marketplace.user_id,
        marketplace.anonymous_id,
        marketplace.revenue_cents,
        marketplace.currency,
        marketplace.engagement_seconds
    from marketplace
    where {{ in_window('marketplace.event_date') }}
),

counted as (
    select
        scoped.event_date,
        scoped.scope,
        scoped.project_id,
        scoped.ip_asset_id,
        scoped.license_id,
        {{ marketplace_views('scoped') }} as views,
        {{ marketplace_clicks('scoped') }} as clicks,
        {{ marketplace_conversions('scoped') }} as conversions,
        {{ marketplace_revenue('scoped') }} as revenue_cents,
        -- A user key is a user_id, else an anonymous_id; the same text as either is two keys.
        {{ count_distinct_where('scoped.user_id', 'scoped.is_activity') }}
        + {{ count_distinct_where(
            'scoped.anonymous_id', 'scoped.is_activity and scoped.user_id is null'
        ) }} as unique_visitors,
        cast(coalesce(sum(scoped.engagement_seconds), 0) as double precision) as engagement_seconds
    from scoped
    group by
        scoped.event_date,
        scoped.scope,
        scoped.project_id,
        scoped.ip_asset_id,
        scoped.license_id
),

daily as (
    select
        calendar.calendar_date as date,
        'platform' as scope,
        'all' as project_id,
        'all' as ip_asset_id,
        'all' as license_id,
        coalesce(counted.views, 0) as views,
        coalesce(counted.clicks, 0) as clicks,
        coalesce(counted.conversions, 0) as conversions,
        coalesce(counted.revenue_cents, 0) as revenue_cents,
        coalesce(counted.unique_visitors, 0) as unique_visitors,
        coalesce(counted.engagement_seconds, 0) as engagement_seconds
    from calendar
    left join counted
        on calendar.calendar_date = counted.event_date and counted.scope = 'platform'
    where {{ in_window('calendar.calendar_date') }}
    union all
    select counted.*
    from counted
    where
        counted.scope = 'entity'
        and counted.views + counted.clicks + counted.conversions + counted.revenue_cents
        + counted.unique_visitors + counted.engagement_seconds > 0
)

select
    daily.date,
    daily.scope,
    daily.project_id,
    daily.ip_asset_id,
    daily.license_id,
    daily.views,
    daily.clicks,
    daily.conversions,
    daily.revenue_cents,
    daily.unique_visitors,
    daily.engagement_seconds
from daily
