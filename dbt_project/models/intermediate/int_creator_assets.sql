-- Grain: one row per creator and asset, dated by the asset's first upload for that creator.
{{ config(
    pre_hook="{{ delete_window('first_date') }}",
    indexes=btree([['first_date'], ['creator_id']])
) }}

with marketplace as (
    select * from {{ ref('stg_marketplace') }}
),

uploaded as (
    select
        coalesce(marketplace.creator_id, 'unknown') as creator_id,
        marketplace.ip_asset_id,
        min(marketplace.event_date) as first_date
    from marketplace
    where
        {{ in_window('marketplace.event_date') }}
        and marketplace.event_name = 'asset_uploaded'
        and marketplace.ip_asset_id is not null
    group by coalesce(marketplace.creator_id, 'unknown'), marketplace.ip_asset_id
)

select
    uploaded.first_date,
    uploaded.creator_id,
    uploaded.ip_asset_id
from uploaded
{% if is_incremental() %}
left join {{ this }} as past
    on
        {{ stored_text('uploaded.creator_id') }} = past.creator_id
        and {{ stored_text('uploaded.ip_asset_id') }} = past.ip_asset_id
        and {{ before_window('past.first_date') }}
where past.creator_id is null
{% endif %}
