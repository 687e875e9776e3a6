{#- What the tables of the marketplace count and add, in the same words for each of them. -#}

{#- Views; campaigns call them impressions. -#}
{% macro marketplace_views(alias) -%}
    {{ count_where(alias ~ ".event_name = 'asset_viewed'") }}
{%- endmacro %}

{% macro marketplace_clicks(alias) -%}
    {{ count_where(alias ~ ".event_name in ('asset_downloaded', 'license_clicked')") }}
{%- endmacro %}

{% macro marketplace_conversions(alias) -%}
    {{ count_where(alias ~ ".event_name = 'license_created'") }}
{%- endmacro %}

{% macro marketplace_revenue(alias) -%}
    {{ total_where(
        alias ~ '.revenue_cents',
        alias ~ ".event_name in ('license_created', 'license_renewed') and "
        ~ is_reported_money(alias)
    ) }}
{%- endmacro %}
