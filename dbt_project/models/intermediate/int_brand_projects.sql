-- Grain: one row per brand and project, dated by the project's first creation for that brand.
{{ config(
    pre_hook="{{ delete_window('first_date') }}",
    indexes=btree([['first_date'], ['brand_id']])
) }}

with marketplace as (
    select * from {{ ref('stg_marketplace') }}
),

created as (
    select
        marketplace.brand_id,
        marketplace.project_id,
        min(marketplace.event_date) as first_date
    from marketplace
    where
        {{ in_window('marketplace.event_date') }}
        and marketplace.event_name = 'project_created'
        and marketplace.brand_id is not null
    group by marketplace.brand_id, marketplace.project_id
)

select
    created.first_date,
    created.brand_id,
    created.project_id
from created
{% if is_incremental() %}
left join {{ this }} as past
    on
        {{ stored_text('created.brand_id') }} = past.brand_id
        and {{ stored_text('created.project_id') }} = past.project_id
        and {{ before_window('past.first_date') }}
where past.brand_id is null
{% endif %}
