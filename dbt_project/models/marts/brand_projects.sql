-- Grain: one row per brand and project that it created, on the date of the first time.
{{ config(
    pre_hook="{{ delete_window('first_date') }}",
    indexes=btree([['first_date']])
) }}

with brand_projects as (
    select * from {{ ref('int_brand_projects') }}
)

select
    brand_projects.first_date,
    brand_projects.brand_id,
    brand_projects.project_id
from brand_projects
where
    {{ in_window('brand_projects.first_date') }}
