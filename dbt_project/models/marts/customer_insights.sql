-- Grain: one row per customer, as known at the end of the last date run.
{#- Every row says how long ago something was: all of them change with each date. -#}
{{ config(materialized='table', indexes=btree([['user_id']])) }}

with customers as not materialized (
    select * from {{ ref('int_customers') }}
),

churn_rates as not materialized (
    select * from {{ ref('int_churn_rates') }}
),

latest_fit as (
    select max(churn_rates.fitted_on) as fitted_on
    from churn_rates
    where churn_rates.fitted_on <= (select max(customers.as_of_date) from customers)
),

cells as (
    select churn_rates.*
    from churn_rates
    inner join latest_fit on churn_rates.fitted_on = latest_fit.fitted_on
),

bands as (
    select
        cells.risk_band,
        sum(cells.snapshots) as snapshots,
        sum(cells.stayed_away) as stayed_away
    from cells
    group by cells.risk_band
),

high_value as (
    select {{ percentile('customers.lifetime_value_cents', var('high_value_percentile')) }} as cents
    from customers
    where customers.purchases >= 1
),

believed as (
    select
        customers.*,
        case when not customers.has_objected then {{ churn_prior('customers') }} end as prior_risk,
        {{ frequency_bin('customers.contact_days') }} as frequency_bin
    from customers
),

banded as (
    select
        believed.*,
        {{ risk_band('believed.prior_risk') }} as risk_band
    from believed
),

scored as (
    select
        banded.*,
        case when not banded.has_objected then latest_fit.fitted_on end as model_fitted_on,
        {{ shrunk_rate(
            'cells.stayed_away',
            'cells.snapshots',
            shrunk_rate('bands.stayed_away', 'bands.snapshots', 'banded.prior_risk')
        ) }} as churn_risk
    from banded
    cross join latest_fit
    left join bands on banded.risk_band = bands.risk_band
    left join cells
        on banded.risk_band = cells.risk_band and banded.frequency_bin = cells.frequency_bin
),

-- Peers: customers who are scored and come as often.
compared as (
    select
        scored.*,
        count(*) over (partition by scored.has_objected, scored.frequency_bin) as peers,
        rank() over (
            partition by scored.has_objected, scored.frequency_bin
            order by scored.lifetime_value_cents desc
        ) - 1 as peers_above,
        count(*) over (
            partition by scored.has_objected, scored.frequency_bin, scored.lifetime_value_cents
        ) as peers_equal
    from scored
)

select
    compared.user_id,
    compared.as_of_date,
    compared.interactions,
    compared.purchases,
    compared.lifetime_value_cents,
    {{ rate('compared.lifetime_value_cents', 'compared.purchases') }} as average_order_value_cents,
    compared.appointments_booked,
    compared.appointments_completed,
    compared.preferred_channel,
    cast(compared.tenure_days as bigint) as days_since_first_contact,
    cast(compared.recency_days as bigint) as days_since_last_contact,
    compared.journey_stage,
    case
        when compared.tenure_days <= {{ var('customer_recent_days') }} and compared.purchases < 2
            then 'new'
        when {{ is_at_least('compared.churn_risk', var('at_risk_churn_risk')) }} then 'at_risk'
        when
            compared.purchases >= 2
            and {{ is_at_least('compared.lifetime_value_cents', 'high_value.cents') }}
            then 'high_value'
        when compared.recent_interactions >= 2 then 'regular'
        else 'occasional'
    end as segment,
    compared.churn_risk,
    (1 - compared.churn_risk)
    * {{ rate('2 * compared.peers_above + compared.peers_equal', '2 * compared.peers') }}
        as upsell_potential,
    compared.contact_days,
    compared.model_fitted_on
from compared
cross join high_value
