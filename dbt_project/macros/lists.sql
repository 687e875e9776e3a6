{#- A list var of whole numbers as rows of one bigint column. -#}
{% macro number_rows(var_name, column) -%}
    {%- set numbers = var(var_name) -%}
    {%- if numbers is string or numbers is not sequence or numbers | length == 0 -%}
        {{ exceptions.raise_compiler_error("var " ~ var_name ~ " must be a list of numbers") }}
    {%- endif -%}
    {%- for number in numbers %}
        {%- if number is not integer or number < 0 -%}
            {{ exceptions.raise_compiler_error(
                "var " ~ var_name ~ " holds '" ~ number ~ "', which is not a whole number"
            ) }}
        {%- endif %}
    select cast({{ number }} as bigint) as {{ column }}
        {%- if not loop.last %}
    union all
        {%- endif %}
    {%- endfor %}
{%- endmacro %}

{#- Items of a select list: the pattern once for each name, which stands for {name} in it. -#}
{% macro listed(names, pattern, separator=',') -%}
    {%- for name in names -%}
        {{ pattern | replace('{name}', name) }}{{ separator ~ '\n        ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}
