{#-
    True for amounts that a table without a currency column may add: those in var
    reporting_currency, and those that name no currency.
-#}
{% macro is_reported_money(alias) -%}
    {%- set currency = var('reporting_currency') -%}
    {%- if not modules.re.match('^[A-Z]{3}$', currency | string) -%}
        {{ exceptions.raise_compiler_error(
            "var reporting_currency must be a code of three capitals, got '" ~ currency ~ "'"
        ) }}
    {%- endif -%}
    coalesce({{ alias }}.currency, '{{ currency }}') = '{{ currency }}'
{%- endmacro %}
