{#- What the tables of message costs share. -#}

{#- What any event of a message may say, and the others need not repeat. -#}
{% macro message_facts() -%}
    {{ return(['country_code', 'pricing_type', 'pricing_category', 'template_id', 'chat_id']) }}
{%- endmacro %}

{#- Cents of an amount in millionths of a currency. -#}
{% macro cents_of_micros(micros) -%}
    {{ rate(micros, 10000) }}
{%- endmacro %}
