select
    event_date as metric_date,
    coalesce(country_code, 'unknown') as country_code,
    provider,
    currency,
    count(*) filter (where event_name = 'payment_attempted') as payments_attempted,
    count(*) filter (where event_name = 'payment_succeeded') as payments_succeeded,
    count(*) filter (where event_name = 'payment_failed') as payments_failed,
    count(*) filter (where event_name = 'refund_issued') as refunds_issued,
    coalesce(sum(amount_cents) filter (where event_name = 'payment_succeeded'), 0)
        as gross_amount_cents
from raw.events
where event_date = $day and domain = 'payments'
group by 1, 2, 3, 4
