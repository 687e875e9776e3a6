{#-
    What the models of customers share: the prior of the churn model, its cells, and how rates of
    cells are joined to it. Formulas and their sources: docs/customers.md.
-#}

{#- How many dates of outcomes a fit adds up. -#}
{% macro churn_fit_days() -%}
    {{ 7 * (var('churn_fit_weeks') | int) }}
{%- endmacro %}

{% macro churn_horizon() -%}
    {{ var('churn_horizon_days') | int }}
{%- endmacro %}

{%- macro churn_parameter(name) -%}
    cast({{ var('churn_prior')[name] | float }} as double precision)
{%- endmacro -%}

{#-
    Probability not to come back within the horizon before anything is learnt: MBG/NBD with fixed
    parameters, of columns contact_days, recency_days and tenure_days. Strictly increasing in
    recency. The exponent is held below e^50, where nobody is left, because Postgres takes a double
    that is too large for an error.
-#}
{% macro churn_prior(alias) -%}
    {%- set repeats = '(' ~ alias ~ '.contact_days - 1)' -%}
    {%- set since_first = churn_parameter('scale_days') ~ ' + ' ~ alias ~ '.tenure_days' -%}
    {%- set to_last = since_first ~ ' - ' ~ alias ~ '.recency_days' -%}
    {%- set to_horizon = since_first ~ ' + ' ~ churn_horizon() -%}
    {%- set events = '(' ~ churn_parameter('shape') ~ ' + ' ~ repeats ~ ')' -%}
    {%- set comes_back = '1 - exp(' ~ events ~ ' * ln(' ~ rate(since_first, to_horizon) ~ '))' -%}
    {%- set has_left = rate(
        churn_parameter('dropout_alpha'), churn_parameter('dropout_beta') ~ ' + ' ~ repeats
    ) ~ ' * exp(least(50, ' ~ events ~ ' * ln(' ~ rate(since_first, to_last) ~ ')))' -%}
    (1 - {{ rate(comes_back, '1 + ' ~ has_left) }})
{%- endmacro %}

{#- Band 0 to 9 of a risk: its first decimal. -#}
{% macro risk_band(risk) -%}
    cast(least(9, floor(10 * ({{ risk }}) + {{ tolerance() }})) as integer)
{%- endmacro %}

{#- Dates with contact in bins, each named by its least. -#}
{% macro frequency_bin(contact_days) -%}
    case
        {%- for least in [10, 6, 4, 3, 2] %}
        when {{ contact_days }} >= {{ least }} then {{ least }}
        {%- endfor %}
        else 1
    end
{%- endmacro %}

{#- A rate of counts, drawn towards what was believed before by var churn_prior_weight. -#}
{% macro shrunk_rate(hits, count, prior) -%}
    {%- set weight = var('churn_prior_weight') | int -%}
    {{ rate(
        'coalesce(' ~ hits ~ ', 0) + ' ~ weight ~ ' * ' ~ prior,
        'coalesce(' ~ count ~ ', 0) + ' ~ weight
    ) }}
{%- endmacro %}
