{#- Addresses of pages, read by regular expressions that mean the same to both engines. -#}

{#- The first group of a pattern, null where the text does not match it. -#}
{% macro matched(expression, pattern) -%}
    {{ adapter.dispatch('matched', 'tidemark')(expression, pattern) }}
{%- endmacro %}

{% macro duckdb__matched(expression, pattern) -%}
    nullif(regexp_extract({{ expression }}, '{{ pattern }}', 1), '')
{%- endmacro %}

{% macro postgres__matched(expression, pattern) -%}
    nullif(substring({{ expression }} from '{{ pattern }}'), '')
{%- endmacro %}

{#- True for text without a letter beyond ASCII. -#}
{% macro is_ascii(expression) -%}
    {{ adapter.dispatch('is_ascii', 'tidemark')(expression) }}
{%- endmacro %}

{% macro duckdb__is_ascii(expression) -%}
    strlen({{ expression }}) = length({{ expression }})
{%- endmacro %}

{% macro postgres__is_ascii(expression) -%}
    octet_length({{ expression }}) = char_length({{ expression }})
{%- endmacro %}

{#- Lower case of ASCII text, whatever the locale of the database (Turkish has another i). -#}
{% macro ascii_lower(expression) -%}
    {{ adapter.dispatch('ascii_lower', 'tidemark')(expression) }}
{%- endmacro %}

{% macro duckdb__ascii_lower(expression) -%}
    lower({{ expression }})
{%- endmacro %}

{% macro postgres__ascii_lower(expression) -%}
    lower(({{ expression }}) collate "C")
{%- endmacro %}

{#-
    Lower case by a table of letters (ASCII, Latin, Greek, Cyrillic), which is slow: what lower()
    does to letters beyond ASCII depends on the engine and on the locale of the database.
-#}
{% macro letters_lower(expression) -%}
    {%- set letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
        ~ 'ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞĀĂĄĆĈĊČĎĐĒĔĖĘĚĜĞĠĢĤĦĨĪĬĮĲĴĶĹĻĽĿŁŃŅŇŊŌŎŐŒŔŖŘŚŜŞŠŢŤŦŨŪŬŮŰŲŴŶŸŹŻŽȘȚ'
        ~ 'ΆΈΉΊΌΎΏΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩΪΫ'
        ~ 'ЀЁЂЃЄЅІЇЈЉЊЋЌЍЎЏАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯҐ' -%}
    translate({{ expression }}, '{{ letters }}', '{{ letters | map("lower") | join }}')
{%- endmacro %}

{#-
    Host of the address of a page: lower case, without port and user; null where there is none. An
    IPv6 address comes without its brackets. Without a scheme it is a host if it has a dot in it
    (`example.com/page`); a path, a word, a mail address or what no host can hold is none. Like
    browsers, a backslash ends the host as a slash does.
-#}
{% macro url_host(url) -%}
    {%- set blank -%} [\t\n\v\f\r ]* {%- endset -%}
    {%- set before -%} ^{{ blank }}(?:[A-Za-z][A-Za-z0-9+.-]*:)?[/\\][/\\](?:[^/?#\\]*@)? {%- endset -%}
    {%- set after -%} (?::[0-9]*)?{{ blank }}(?:[/?#\\]|$) {%- endset -%}
    {%- set no_host -%} /?#\\@:<>"|^`\[\]\t\n\v\f\r {%- endset -%}
    {%- set name -%} ([^{{ no_host }} ]+) {%- endset -%}
    {%- set ipv6 -%} \[([0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)\] {%- endset -%}
    {%- set dotted -%} ([^.{{ no_host }} ]+(?:\.[^.{{ no_host }} ]+)+\.?) {%- endset -%}
    {%- set host = 'coalesce('
        ~ matched(url, before ~ name ~ after) ~ ', '
        ~ matched(url, before ~ ipv6 ~ after) ~ ', '
        ~ matched(url, '^' ~ blank ~ dotted ~ after)
        ~ ')' -%}
    case
        when {{ is_ascii(url) }} then {{ ascii_lower(host) }}
        else {{ letters_lower(host) }}
    end
{%- endmacro %}
