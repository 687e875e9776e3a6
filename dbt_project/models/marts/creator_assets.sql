-- Grain: one row per creator and asset that it uploaded, on the date of the first time.
{{ config(
    pre_hook="{{ delete_window('first_date') }}",
    indexes=btree([['first_date']])
) }}

with creator_assets as (
    select * from {{ ref('int_creator_assets') }}
)

select
    creator_assets.first_date,
    creator_assets.creator_id,
    creator_assets.ip_asset_id
from creator_assets
where
    {{ in_window('creator_assets.first_date') }}
    and creator_assets.creator_id <> 'unknown'
