"""The door: contracts, validation, privacy and loaders that turn files of events into raw.events.

Nothing here knows dbt or Dagster; what a mart means is written in SQL, what runs when is
written in ``orchestration``.
"""
