"""Summarises statements for traces: what they do, and the first table that they name. Values are never part of it."""

import re
from functools import lru_cache

MAX_KEPT = 512
"""How many statements are kept with their summaries: they are texts of the program, and few of them are built."""
_OPERATION = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+([a-z_]+)", re.IGNORECASE)


@lru_cache(MAX_KEPT)
def summary_of(statement: str) -> tuple[str, str]:
    """Return a summary such as "SELECT containers", and the operation alone."""
    found, table = _OPERATION.search(statement), _TABLE.search(statement)
    operation = found.group(1).upper() if found else "QUERY"
    return (f"{operation} {table.group(1)}" if table else operation), operation
