{#-
    The window of a run. One place decides which dates a model writes:

        where {{ in_window('events.event_date') }}

    Half open, unconditional. Intermediate models write [prepare_start, window_end), everything else
    [window_start, window_end): a mart may be rewritten for fewer dates than its inputs.
    What a model looks up lies before its window (`before_window`) or within its reach; nothing
    after window_end is ever read, because those rows may be stale.
-#}

{% macro date_var(name) -%}
    {%- set value = var(name) | string -%}
    {%- if not modules.re.match('^[0-9]{4}-[0-9]{2}-[0-9]{2}$', value) -%}
        {{ exceptions.raise_compiler_error(
            "var " ~ name ~ " must be a date as YYYY-MM-DD, got '" ~ value ~ "'"
        ) }}
    {%- endif -%}
    cast('{{ value }}' as date)
{%- endmacro %}

{% macro window_start() -%}
    {{ date_var('prepare_start' if 'intermediate' in model.fqn else 'window_start') }}
{%- endmacro %}

{% macro window_end() -%}
    {{ date_var('window_end') }}
{%- endmacro %}

{#- True for dates to write; with `reach`, also for that many dates before them. -#}
{% macro in_window(column, reach=0) -%}
    {{ column }} >= {{ window_start() }}{{ ' - ' ~ reach if reach else '' }}
    and {{ column }} < {{ window_end() }}
{%- endmacro %}

{% macro before_window(column) -%}
    {{ column }} < {{ window_start() }}
{%- endmacro %}

{#- Pre-hook of every windowed model: empties what the model is about to append. -#}
{% macro delete_window(column) -%}
    {%- if is_incremental() -%}
        delete from {{ this }} where {{ in_window(column) }}
    {%- endif -%}
{%- endmacro %}

{#-
    A query: the latest own row before the window of each key that another query names, as a state
    that goes on. One index look-up for a key on Postgres, whatever its history.
-#}
{% macro latest_before_window(key, of) -%}
    select latest.*
    from (select distinct {{ stored_text(of ~ '.' ~ key) }} as {{ key }} from {{ of }}) as keys
    cross join lateral (
        select past.*
        from {{ this }} as past
        where
            past.{{ key }} = keys.{{ key }}
            and {{ before_window('past.event_date') }}
            and past.is_last_of_date
        order by past.event_date desc
        limit 1
    ) as latest
{%- endmacro %}

{#-
    True for rows of `past` whose key another query names: the past of what a window touches. Index
    look-ups on Postgres.
-#}
{% macro is_key_of(key, of) -%}
    past.{{ key }} in (select {{ stored_text(of ~ '.' ~ key) }} from {{ of }})
{%- endmacro %}
