"""Who may read what: one matrix, from which policies, grants, exports and the check are made."""
