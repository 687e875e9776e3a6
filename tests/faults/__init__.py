"""Nothing is lost under faults: the harness of ``make faults``.

Belongs here: processes that die, full disks, hostile input, and the whole against a plain model,
each with a short form that pytest runs and a long one that writes a table into ``results/``.
"""
