-- Grain: one row per event of an order, with what was known of the order at that event.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['order_id']])
) }}

{% set event = ['event_date', 'order_id', 'occurred_at', 'event_id', 'event_name', 'decision'] -%}
{% set numbered = [
    'order_created', 'order_assigned', 'order_submitted', 'order_completed', 'order_cancelled',
    'moderation_decision'
] -%}
with orders as (
    select * from {{ ref('stg_orders') }}
),

moderation as (
    select * from {{ ref('stg_moderation') }}
),

window_events as (
    select
        orders.event_date,
        orders.entity_id as order_id,
        orders.occurred_at,
        orders.event_id,
        orders.event_name,
        cast(null as text) as decision,
        orders.service_code,
        orders.reader_id
    from orders
    where {{ in_window('orders.event_date') }}
    union all
    select
        moderation.event_date,
        moderation.entity_id as order_id,
        moderation.occurred_at,
        moderation.event_id,
        moderation.event_name,
        moderation.status as decision,
        cast(null as text) as service_code,
        cast(null as text) as reader_id
    from moderation
    where
        {{ in_window('moderation.event_date') }}
        and moderation.event_name = 'moderation_decision'
        and moderation.entity_type = 'order'
),

-- The whole past of the orders touched in the window, from this model's own narrow rows.
order_events as (
    select * from window_events
    {%- if is_incremental() %}
    union all
    select {{ listed(event + ['service_code', 'reader_id'], 'past.{name}') }}
    from {{ this }} as past
    where
        {{ before_window('past.event_date') }}
        and {{ is_key_of('order_id', of='window_events') }}
    {%- endif %}
),

known as (
    select
        order_events.*,
        case order_events.event_name
            {%- for name in numbered %}
            when '{{ name }}'
                then {{ count_where("order_events.event_name = '" ~ name ~ "'") }} over up_to_event
            {%- endfor %}
        end as event_number,
        {{ count_where("order_events.decision = 'rejected'") }} over up_to_event as rejections,
        min(
            case
                when order_events.event_name = 'order_created' then order_events.occurred_at
            end
        ) over up_to_event as created_at,
        max(
            case
                when order_events.event_name = 'order_submitted' then order_events.occurred_at
            end
        ) over up_to_event as submitted_at,
        -- Rows of the past bear what was known at them: of others than these, no word of their own.
        {{ first_known(
            "case when order_events.event_name = 'order_created'"
            ~ " then order_events.service_code end", 'order_events', 'up_to_event'
        ) }} as known_service_code,
        {{ last_known(
            "case when order_events.event_name = 'order_assigned'"
            ~ " then order_events.reader_id end", 'order_events', 'up_to_event'
        ) }} as known_reader_id
    from order_events
    window up_to_event as ({{ up_to_event('order_events', 'order_id') }})
)

select
    {{ listed(event, 'known.{name}') }},
    coalesce(known.known_service_code, 'unknown') as service_code,
    coalesce(known.known_reader_id, 'unassigned') as reader_id,
    known.event_number,
    known.rejections,
    case
        when known.event_name = 'order_assigned' and known.event_number = 1
            then {{ milliseconds_between('known.created_at', 'known.occurred_at') }}
    end as response_ms,
    case
        when known.event_name = 'order_completed' and known.event_number = 1
            then {{ milliseconds_between('known.created_at', 'known.occurred_at') }}
    end as delivery_ms,
    case
        when known.event_name = 'moderation_decision'
            then {{ milliseconds_between('known.submitted_at', 'known.occurred_at') }}
    end as approval_ms
from known
where {{ in_window('known.event_date') }}
