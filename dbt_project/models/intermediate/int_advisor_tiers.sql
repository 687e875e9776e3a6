-- Grain: one row per advisor and date from which a tier held, the first event date among them.
{{ config(
    pre_hook="{{ delete_window('valid_from') }}",
    indexes=btree([['valid_from'], ['advisor_id_hash']])
) }}

with days as (
    select * from {{ ref('int_advisor_days') }}
),

items as (
    select * from {{ ref('int_advisor_items') }}
),

window_days as (
    select
        days.event_date as valid_from,
        days.advisor_id_hash,
        items.outcome as tier
    from days
    left join items
        on
            days.event_date = items.event_date
            and days.advisor_id_hash = items.advisor_id_hash
            and items.kind = 'tier'
    where
        {{ in_window('days.event_date') }}
        and days.advisory_events > 0
),

all_days as (
    select * from window_days
    {%- if is_incremental() %}
    union all
    select
        past.valid_from,
        past.advisor_id_hash,
        past.tier
    from {{ this }} as past
    where
        {{ before_window('past.valid_from') }}
        and {{ is_key_of('advisor_id_hash', of='window_days') }}
    {%- endif %}
),

dated as (
    select
        all_days.*,
        min(all_days.valid_from) over (partition by all_days.advisor_id_hash) as first_date
    from all_days
),

-- Who never said is a basic advisor; days that say nothing change nothing.
told as (
    select
        dated.valid_from,
        dated.advisor_id_hash,
        dated.first_date,
        coalesce(dated.tier, 'basic') as tier
    from dated
    where dated.tier is not null or dated.valid_from = dated.first_date
),

compared as (
    select
        told.*,
        lag(told.tier) over (partition by told.advisor_id_hash order by told.valid_from)
            as previous_tier
    from told
)

select
    compared.valid_from,
    compared.advisor_id_hash,
    compared.tier,
    compared.first_date
from compared
where
    {{ in_window('compared.valid_from') }}
    and compared.tier is distinct from compared.previous_tier
