-- Grain: one row per anomaly that began on the last date of the run. A warning and no failure: what
-- is unusual may be true, and who was told once need not be told again while it lasts.
{{ config(severity='warn') }}

select
    anomalies.metric_date,
    anomalies.relation,
    anomalies.metric,
    anomalies.value,
    anomalies.expected,
    anomalies.deviation
from {{ ref('metric_anomalies') }} as anomalies
where
    anomalies.metric_date = {{ window_end() }} - 1
    and anomalies.is_new
