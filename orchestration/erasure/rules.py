"""What becomes of each relation when a person is erased: rows that go, columns that are emptied.

Belongs here: the rules, relation by relation, and the names of columns that can hold a key of a
person. What is a person's key is found in ``orchestration.erasure.rows``.

A row goes when one of its keys is the person's. Where a row is another one's and merely names the
person, the columns in ``clears`` are emptied. Aggregates have no such column and stay. Events that
bear none of a person's identifiers (an order was completed, a message was delivered) stay in
raw.events: with the events beside them gone nothing says whose order it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ingest.tombstones import NAMING_FIELDS

#: Kinds of keys, each a temporary table of what is the person's.
IDENTIFIER, PERSON, SESSION, EVENT, CHAT = "identifier", "person", "session", "event", "chat"

#: Two more that stand for several columns: whose an event is, and what an alert is about.
OWNER, SUBJECT = "owner", "subject"


@dataclass(frozen=True)
class Key:
    """A column that can hold a key of a person.

    An identifier is of the fixed type ``type``, or of the type in column ``type_column``; with
    neither, of any type.
    """

    kind: str
    column: str
    type: str | None = None
    type_column: str | None = None


@dataclass(frozen=True)
class Rule:
    """What happens to a relation; ``keeps`` names columns that look like keys, and why they stay.

    ``clears`` maps a key to the columns that are emptied where it is the person's.
    """

    deletes: tuple[Key, ...] = ()
    clears: Mapping[Key, tuple[str, ...]] = field(default_factory=dict)
    keeps: Mapping[str, str] = field(default_factory=dict)


USER = Key(IDENTIFIER, "user_id", type="user_id")
NAMED = Key(IDENTIFIER, "identifier", type_column="identifier_type")
USER_KEY = Key(IDENTIFIER, "user_key", type_column="user_key_type")
PARTNER = Key(IDENTIFIER, "partner", type_column="partner_type")
SMALLEST = Key(IDENTIFIER, "smallest_identifier", type_column="smallest_type")
PERSON_ID = Key(PERSON, "person_id")
SESSION_ID = Key(SESSION, "session_id")
TOUCH = Key(SESSION, "touch_session_id")
EVENT_ID = Key(EVENT, "event_id")
CONVERSION = Key(EVENT, "conversion_event_id")
REFUND = Key(EVENT, "refund_event_id")
RESPONSE = Key(EVENT, "response_event_id")
CHAT_ID = Key(CHAT, "chat_id")

#: Subjects of alerts are keys of the marts that a rule names.
SUBJECT_ID = Key(SUBJECT, "subject_id")

#: Names of columns that can hold such a key, wherever they stand: no such column without a rule.
VOCABULARY: dict[str, Key] = {
    **{
        key.column: key
        for key in (
            NAMED, USER_KEY, PARTNER, SMALLEST, PERSON_ID, SESSION_ID, TOUCH, EVENT_ID, CONVERSION,
            REFUND, RESPONSE, CHAT_ID, SUBJECT_ID,
        )
    },
    **{
        name: Key(IDENTIFIER, name, type=types[0] if len(types) == 1 else None)
        for name, types in NAMING_FIELDS.items()
    },
}  # fmt: skip

_LEFT = "events that name nobody stay in raw.events, and with them what was computed of them"

#: Every relation of the dbt project with such a column. Their names are the same in each schema.
RELATIONS: dict[str, Rule] = {
    # -- identity
    "identity_map": Rule((NAMED, PERSON_ID)),
    "identity_conflicts": Rule((NAMED,)),
    "int_identifiers": Rule((NAMED,)),
    "int_identity_conflicts": Rule((NAMED,)),
    "int_identity_links": Rule((NAMED, EVENT_ID)),
    "int_identity_pairs": Rule((NAMED, PARTNER)),
    # Whoever was once named by an identifier of the person is named by its own again.
    "int_identity_persons": Rule((NAMED, SMALLEST, PERSON_ID)),
    # -- users and their days
    "int_user_days": Rule((USER,)),
    "int_user_first_dates": Rule((USER,)),
    "int_opt_outs": Rule((USER,)),
    "int_customer_days": Rule((USER,)),
    "customer_insights": Rule((USER,)),
    "int_funnel_events": Rule((USER, EVENT_ID)),
    "int_funnel_steps": Rule((USER,)),
    "int_conversions": Rule((USER, EVENT_ID)),
    # -- sessions and what they are credited with
    "sessions": Rule((USER_KEY, SESSION_ID)),
    "int_session_days": Rule((USER_KEY, SESSION_ID)),
    "int_session_conversions": Rule((SESSION_ID,)),
    "timeline_events": Rule((USER_KEY, EVENT_ID, SESSION_ID)),
    "attribution": Rule((EVENT_ID,)),
    # A conversion of another one who was the same person at that time is nobody's from now on.
    "int_attribution_conversions": Rule(
        (CONVERSION,),
        clears={
            SMALLEST: ("smallest_type", "smallest_identifier", "person_id"),
            PERSON_ID: ("smallest_type", "smallest_identifier", "person_id"),
        },
    ),
    "int_attribution_members": Rule((NAMED, CONVERSION)),
    "int_attribution_touches": Rule((CONVERSION, TOUCH)),
    "conversion_touches": Rule((CONVERSION, TOUCH), clears={PERSON_ID: ("person_id",)}),
    "int_refunds": Rule((CONVERSION, REFUND)),
    # -- chats and conversations
    "int_chat_events": Rule((USER, EVENT_ID, CHAT_ID)),
    "response_times": Rule((USER, RESPONSE, CHAT_ID)),
    "open_waits": Rule((CHAT_ID,)),
    "int_message_events": Rule((EVENT_ID, CHAT_ID)),
    "int_message_charges": Rule((CHAT_ID,)),
    "chat_message_costs": Rule((CHAT_ID,)),
    "int_conversation_days": Rule((USER, EVENT_ID)),
    "conversations": Rule((USER, EVENT_ID)),
    # -- histories of orders, calls, contents, messages: rows of events, with the events
    "int_order_events": Rule((EVENT_ID,)),
    "int_call_events": Rule((EVENT_ID,)),
    "int_horoscope_events": Rule((EVENT_ID,)),
    "int_message_facts": Rule((EVENT_ID,)),
    # -- alerts on a chat or an answer
    "alerts": Rule((SUBJECT_ID,)),
    "alert_episode_days": Rule((SUBJECT_ID,)),
}

#: raw.events: the user key decides whose an event is.
RAW_EVENTS = Rule(
    deletes=(Key(OWNER, "user_id"),),
    clears={
        Key(IDENTIFIER, name, type=types[0] if len(types) == 1 else None): (name,)
        for name, types in NAMING_FIELDS.items()
    },
    keeps={
        "session_id": "the producer's own, gone with the event",
        "event_id": "the event's own key",
        "chat_id": _LEFT,
    },
)

#: Tables of operations; those whose texts can name a person are read word by word as well.
OPERATIONS: dict[str, Rule] = {
    "raw.event_ids": Rule(
        keeps={"event_id": "a random number; an event that comes again must stay a duplicate"}
    ),
    "ops.identities": Rule(
        keeps={"subject_id": "what a login may read; who gives the login takes it back"}
    ),
    "ops.identity_revocations": Rule((EVENT_ID,)),
    "ops.alert_deliveries": Rule((SUBJECT_ID,)),
    "ops.hash_links": Rule(
        (
            Key(IDENTIFIER, "old_hash", type_column="identifier_type"),
            Key(IDENTIFIER, "new_hash", type_column="identifier_type"),
            EVENT_ID,
        )
    ),
    "ops.hashes_written": Rule((Key(IDENTIFIER, "hash", type_column="identifier_type"),)),
    "ops.erasure_tombstones": Rule(
        keeps={"identifier_type": "a salted hash stands beside it, by which nobody can be found"}
    ),
}

#: Texts of operations that can name a person -> what becomes of a row that does.
TEXTS: dict[str, tuple[tuple[str, ...], str]] = {
    "ops.rejected_events": (("payload", "detail", "event_name", "field"), "quarantine"),
    "ops.unknown_properties": (("property",), "delete"),
    "ops.loads": (("file_name", "error"), "blank"),
    "ops.etl_job_runs": (("error",), "blank"),
    "ops.check_results": (("observed",), "blank"),
    "ops.identity_revocations": (("reason",), "blank"),
    "ops.alert_deliveries": (("last_error",), "blank"),
}

#: A restatement names a person in the key of its row, or in a cell that is such a key itself.
RESTATEMENTS = "ops.restatements"

#: Texts of others' rows in which a person can be mentioned: addresses of pages, what no contract
#: knows. They are emptied.
MENTIONS: dict[str, tuple[str, ...]] = {
    "events": ("extra", "page_url", "landing_page", "referrer"),
    "int_session_days": ("landing_page", "referrer"),
    "sessions": ("landing_page", "referrer"),
    "attribution": ("landing_page", "referrer"),
}

#: Shorter identifiers could be any word of a text.
MENTIONED_LENGTH = 5

#: What stands where a name stood.
BLANK = "[erased]"


def rule_of(schema: str, table: str, columns: Iterable[str]) -> Rule:
    """Return the rule of a table; one that the project does not know goes by its columns' names."""
    present = set(columns)
    if (schema, table) == ("raw", "events"):
        return RAW_EVENTS
    known = OPERATIONS.get(f"{schema}.{table}")
    if known is None and schema not in ("raw", "ops"):
        known = RELATIONS.get(table)
        if known is None or not _fits(known, present):
            known = _by_names(present)
    if known is None:
        return Rule()
    usable = tuple(key for key in known.deletes if _is_there(key, present))
    clears = {key: found for key, found in known.clears.items() if _is_there(key, present)}
    return Rule(usable, clears, known.keeps)


def _by_names(columns: set[str]) -> Rule:
    found = [VOCABULARY[name] for name in sorted(columns) if name in VOCABULARY]
    return Rule(tuple(k if _is_there(k, columns) else replace(k, type_column=None) for k in found))


def _fits(rule: Rule, columns: set[str]) -> bool:
    """Whether a rule speaks of all that can be a key in a table, which may be an older one."""
    spoken = {key.column for key in (*rule.deletes, *rule.clears)} | set(rule.keeps)
    return not (set(VOCABULARY) & columns) - spoken


def _is_there(key: Key, columns: set[str]) -> bool:
    return key.column in columns and (key.type_column is None or key.type_column in columns)


#: Published views whose rows are of persons, as their tables are.
VIEWS = ("conversion_attribution", "user_timeline")


def holds_persons(relation: str) -> bool:
    """Tell whether an export of a published relation can hold rows of a person."""
    return relation in VIEWS or bool(RELATIONS.get(relation, Rule()).deletes)
