-- Grain: one row per as_of_date and grade that an agent has.
{{ config(pre_hook="{{ delete_window('as_of_date') }}", indexes=btree([['as_of_date']])) }}

with performance as (
    select * from {{ ref('agent_performance') }}
),

counted as (
    select
        performance.as_of_date,
        performance.grade,
        count(*) as agents
    from performance
    where
        {{ in_window('performance.as_of_date') }}
        and performance.grade is not null
    group by performance.as_of_date, performance.grade
)

select
    counted.as_of_date,
    counted.grade,
    counted.agents,
    {{ rate('counted.agents', 'sum(counted.agents) over (partition by counted.as_of_date)') }}
        as share
from counted
