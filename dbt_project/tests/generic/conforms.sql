{#-
    Rows that break the contracts, among the dates that intermediate models are about to read.
    `events` maps each event to what holds for its rows (required columns, accepted values, ranges)
    and is complete: any other event fails. `every` holds for all rows. `key` names a column that
    may hold each value once; it is counted and not grouped by, which takes half the time.
-#}
{% test conforms(model, events=none, every=none, key=none) %}

select
    rows_to_check.event_id,
    rows_to_check.event_name
from {{ model }} as rows_to_check
where
    rows_to_check.event_date >= {{ date_var('prepare_start') }}
    and rows_to_check.event_date < {{ date_var('window_end') }}
    and (
        false
        {%- if every %}
        or {{ contract_fault(every) }}
        {%- endif %}
        {%- if events %}
        or rows_to_check.event_name not in ({{ sql_texts(events.keys() | list) }})
        {%- for name, rule in events.items() if rule %}
        or (rows_to_check.event_name = '{{ name }}' and {{ contract_fault(rule) }})
        {%- endfor %}
        {%- endif %}
    )
{%- if key %}

union all

select
    min(rows_to_check.event_id) as event_id,
    min(rows_to_check.event_name) as event_name
from {{ model }} as rows_to_check
where
    rows_to_check.event_date >= {{ date_var('prepare_start') }}
    and rows_to_check.event_date < {{ date_var('window_end') }}
having count(*) > count(distinct rows_to_check.{{ key }})
{%- endif %}

{% endtest %}
