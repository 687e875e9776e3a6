{#-
    Where an advisor stands among peers: 100 x (peers below + half of the peers equal, oneself
    included) / peers. Peers are the advisors of the same `within` (a date, a sub-metric) and tier
    that have a value, or all of the same `within` when the tier has fewer than
    var min_peer_group_size of them; fewer than that in all: null.

    Two macros, because window functions cannot be nested: `peer_counts` makes columns of one step,
    `peer_percentile` reads them in the next.
-#}
{% macro peer_counts(value, within, tier) -%}
    {%- for name, partition in [('tier', within + [tier]), ('all', within)] %}
    count({{ value }}) over (partition by {{ partition | join(', ') }}) as {{ name }}_peers,
    count({{ value }}) over (
        partition by {{ partition | join(', ') }} order by {{ value }}
        range between unbounded preceding and {{ tolerance() }} following
    ) as {{ name }}_not_above,
    count({{ value }}) over (
        partition by {{ partition | join(', ') }} order by {{ value }}
        range between {{ tolerance() }} preceding and {{ tolerance() }} following
    ) as {{ name }}_equal
    {{- ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{% macro peer_percentile(value, alias) -%}
    case
        when {{ value }} is null then null
        {%- for name in ['tier', 'all'] %}
        when {{ alias }}.{{ name }}_peers >= {{ var('min_peer_group_size') | int }}
            then {{ rate(
                '(100 * ' ~ alias ~ '.' ~ name ~ '_not_above - 50 * ' ~ alias ~ '.' ~ name ~ '_equal)',
                alias ~ '.' ~ name ~ '_peers'
            ) }}
        {%- endfor %}
    end
{%- endmacro %}
