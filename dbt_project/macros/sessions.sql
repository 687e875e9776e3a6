{#-
    What the models of sessions share: their two vars, checked, and what identifies and describes a
    session.
-#}

{#- The longest gap inside a session. Up to a day: what goes on was there two dates ago at most. -#}
{% macro session_timeout() -%}
    {%- set minutes = var('session_timeout_minutes') -%}
    {%- if minutes is not integer or minutes is boolean or minutes < 1 or minutes > 1440 -%}
        {{ exceptions.raise_compiler_error(
            "var session_timeout_minutes must be a whole number from 1 to 1440, got '"
            ~ minutes ~ "'"
        ) }}
    {%- endif -%}
    interval '{{ minutes }} minutes'
{%- endmacro %}

{#- Calendar dates that a gap of a day can reach back: two where clocks skip an hour or a date. -#}
{% macro session_reach() -%}
    {{ return(2) }}
{%- endmacro %}

{#- Rows 0, 1 and so on up to that. -#}
{% macro days_within_reach() -%}
    {%- for days in range(session_reach() + 1) -%}
        select {{ days }} as days{{ ' union all ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{#- True for the events that count as a conversion. -#}
{% macro is_conversion(event_name) -%}
    {%- set names = var('conversion_events') -%}
    {%- if names is string or names is not sequence or names | length == 0 -%}
        {{ exceptions.raise_compiler_error("var conversion_events must be a list of event names") }}
    {%- endif -%}
    {%- for name in names if not modules.re.match('^[a-z][a-z0-9_]*$', name | string) -%}
        {{ exceptions.raise_compiler_error(
            "var conversion_events holds '" ~ name ~ "', which is not an event name"
        ) }}
    {%- endfor -%}
    {{ event_name }} in ({{ sql_texts(names) }})
{%- endmacro %}

{#-
    Text of a session's id. The key stands last and nothing before it can hold a '|', so that no two
    sessions share a text; the start is a number, which both engines write alike.
-#}
{% macro session_id(alias) -%}
    md5(
        {{ alias }}.user_key_type || '|' || {{ alias }}.channel || '|'
        || cast({{ milliseconds_between(
            "timestamp '1970-01-01 00:00:00'", alias ~ '.session_start_at'
        ) }} as text)
        || '|' || {{ alias }}.user_key
    )
{%- endmacro %}

{#- Whose session it is. -#}
{% macro session_key() -%}
    {{ return(['user_key', 'channel', 'user_key_type']) }}
{%- endmacro %}

{#-
    A query for int_session_days: the latest own row before the window of each key that another
    query names. One index look-up for a key on Postgres, whatever its history.
-#}
{% macro latest_sessions_before_window(of) -%}
    select latest.*
    from (select distinct {{ listed(session_key(), of ~ '.{name}') }} from {{ of }}) as keys
    cross join lateral (
        select past.*
        from {{ this }} as past
        where
            past.user_key = keys.user_key
            and past.channel = keys.channel
            and past.user_key_type = keys.user_key_type
            and {{ before_window('past.event_date') }}
        order by past.session_number desc, past.event_date desc
        limit 1
    ) as latest
{%- endmacro %}

{#- Where a session came from: all of these are taken from one event. -#}
{% macro origin_columns() -%}
    {{ return(['landing_page', 'referrer', 'utm_source', 'utm_medium', 'utm_campaign']) }}
{%- endmacro %}

{% macro has_origin(alias) -%}
    coalesce(
        {%- for column in origin_columns() %}
        {{ alias }}.{{ column }}{{ ',' if not loop.last }}
        {%- endfor %}
    ) is not null
{%- endmacro %}

{#-
    One past the last date after the window whose rows are current, which only the orchestrator
    knows. `sessions` shows what is known at the end of the last date run, so it may read on to there.
-#}
{% macro known_end() -%}
    {{ date_var('known_end') }}
{%- endmacro %}

{%- macro sessions_of_window() -%}
    select session_days.session_id
    from {{ ref('int_session_days') }} as session_days
    where {{ in_window('session_days.event_date') }}
{%- endmacro %}

{#- Pre-hook of `sessions`: all that begin in the window, and what is to be written anew. -#}
{% macro delete_changed_sessions() -%}
    {%- if is_incremental() -%}
        delete from {{ this }}
        where session_id in (
            {{ sessions_of_window() }}
            union all
            select begun.session_id from {{ this }} as begun
            where {{ in_window('begun.session_date') }}
        )
    {%- endif -%}
{%- endmacro %}

{#- True for rows of `sessions` that reached from before the window into it, and ended in it. -#}
{% macro is_cut(alias) -%}
    {{ before_window(alias ~ '.session_date') }} and {{ in_window(alias ~ '.session_end_date') }}
{%- endmacro %}

{#-
    Post-hook of `sessions`: the old rows of sessions that have no event in the window any more. The
    model had to read them, to write what is left of these sessions.
-#}
{% macro delete_cut_sessions() -%}
    {%- if is_incremental() -%}
        delete from {{ this }} as cut
        where {{ is_cut('cut') }} and cut.session_id not in ({{ sessions_of_window() }})
    {%- endif -%}
{%- endmacro %}

{#-
    A query: the dates of the sessions that a run may have changed. A session that lost its events of
    the window still has one within reach before it.
-#}
{% macro dates_of_changed_sessions() -%}
    select distinct session_days.session_date
    from {{ ref('int_session_days') }} as session_days
    where {{ in_window('session_days.event_date', reach=session_reach() if is_incremental() else 0) }}
{%- endmacro %}

{% macro delete_dates_of_changed_sessions() -%}
    {%- if is_incremental() -%}
        delete from {{ this }}
        where {{ in_window('metric_date') }} or metric_date in ({{ dates_of_changed_sessions() }})
    {%- endif -%}
{%- endmacro %}
