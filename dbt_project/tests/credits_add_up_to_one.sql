-- Conversions of the window whose credits do not add up to 1 in each of the models.
with models as (
    {{ attribution_models() }}
),

credited as (
    select
        credits.conversion_event_id,
        credits.model,
        sum(credits.credit) as credit
    from {{ ref('conversion_attribution') }} as credits
    where
        credits.metric_date >= {{ date_var('window_start') }}
        and credits.metric_date < {{ date_var('window_end') }}
    group by credits.conversion_event_id, credits.model
)

select
    conversions.conversion_event_id,
    models.model,
    credited.credit
from {{ ref('int_attribution_conversions') }} as conversions
cross join models
left join credited
    on
        conversions.conversion_event_id = credited.conversion_event_id
        and models.model = credited.model
where
    conversions.event_date >= {{ date_var('window_start') }}
    and conversions.event_date < {{ date_var('window_end') }}
    and coalesce(abs(credited.credit - 1), 1) > {{ tolerance() }}
