{#- The SQL behind the generic test `conforms`; its rules come from the event contracts. -#}

{% macro sql_texts(values) -%}
    {%- for value in values -%}
        '{{ value | replace("'", "''") }}'{{ ', ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{#- A null violates `required` only: an enum or a range says what a value may be when there is one. -#}
{% macro contract_fault(rule) -%}
    {%- set faults = [] -%}
    {%- for column in rule.get('required', []) -%}
        {%- do faults.append('rows_to_check.' ~ column ~ ' is null') -%}
    {%- endfor -%}
    {%- for column, values in rule.get('accepted', {}).items() -%}
        {%- do faults.append('rows_to_check.' ~ column ~ ' not in (' ~ sql_texts(values) ~ ')') -%}
    {%- endfor -%}
    {%- for column, range in rule.get('ranges', {}).items() -%}
        {%- if 'min' in range -%}
            {%- do faults.append('rows_to_check.' ~ column ~ ' < ' ~ range['min']) -%}
        {%- endif -%}
        {%- if 'max' in range -%}
            {%- do faults.append('rows_to_check.' ~ column ~ ' > ' ~ range['max']) -%}
        {%- endif -%}
    {%- endfor -%}
    ({{ faults | join(' or ') }})
{%- endmacro %}
