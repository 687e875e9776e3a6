-- Grain: one row per metric_date, country_code, provider and currency.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with payments as (
    select * from {{ ref('stg_payments') }}
),

keyed as (
    select
        payments.event_date as metric_date,
        coalesce(payments.country_code, 'unknown') as country_code,
        coalesce(payments.provider, 'unknown') as provider,
        coalesce(payments.currency, 'unknown') as currency,
        payments.event_name,
        payments.is_fallback,
        payments.amount_cents
    from payments
    where {{ in_window('payments.event_date') }}
),

daily as (
    select
        keyed.metric_date,
        keyed.country_code,
        keyed.provider,
        keyed.currency,
        {{ count_where("keyed.event_name = 'payment_attempted'") }} as payments_attempted,
        {{ count_where("keyed.event_name = 'payment_succeeded'") }} as payments_succeeded,
        {{ count_where("keyed.event_name = 'payment_failed'") }} as payments_failed,
        {{ count_where("keyed.event_name = 'payment_attempted' and keyed.is_fallback") }}
            as fallback_attempts,
        {{ count_where("keyed.event_name = 'refund_issued'") }} as refunds_issued,
        {{ total_where('keyed.amount_cents', "keyed.event_name = 'payment_succeeded'") }}
            as gross_amount_cents,
        {{ total_where('keyed.amount_cents', "keyed.event_name = 'refund_issued'") }}
            as refunded_amount_cents
    from keyed
    group by keyed.metric_date, keyed.country_code, keyed.provider, keyed.currency
)

select
    daily.metric_date,
    daily.country_code,
    daily.provider,
    daily.currency,
    daily.payments_attempted,
    daily.payments_succeeded,
    daily.payments_failed,
    daily.fallback_attempts,
    daily.refunds_issued,
    daily.gross_amount_cents,
    daily.refunded_amount_cents,
    daily.gross_amount_cents - daily.refunded_amount_cents as net_amount_cents,
    {{ rate('daily.payments_succeeded', 'daily.payments_attempted') }} as success_rate,
    {{ rate('daily.fallback_attempts', 'daily.payments_attempted') }} as fallback_rate,
    {{ rate('daily.refunds_issued', 'daily.payments_succeeded') }} as refund_rate,
    {{ rate('daily.gross_amount_cents', 'daily.payments_succeeded') }} as average_transaction_cents
from daily
where
    daily.payments_attempted + daily.payments_succeeded + daily.payments_failed
    + daily.refunds_issued > 0
