-- Grain: one row per metric_date and project, sparse.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with project_days as (
    select * from {{ ref('int_project_days') }}
)

select
    project_days.event_date as metric_date,
    project_days.project_id,
    project_days.impressions,
    project_days.clicks,
    project_days.conversions,
    project_days.revenue_cents,
    project_days.budget_cents,
    {{ rate('project_days.clicks', 'project_days.impressions') }} as click_through_rate,
    {{ rate('project_days.conversions', 'project_days.clicks') }} as conversion_rate,
    project_days.cumulative_revenue_cents,
    {{ rate(
        '(project_days.cumulative_revenue_cents - project_days.budget_cents)',
        'project_days.budget_cents'
    ) }} as roi
from project_days
where
    {{ in_window('project_days.event_date') }}
    -- A date on which the project only got its budget has no row.
    and project_days.impressions + project_days.clicks + project_days.conversions
    + project_days.revenue_cents > 0
