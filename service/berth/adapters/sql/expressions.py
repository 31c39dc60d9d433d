"""Expressions of SQL that SQLite and PostgreSQL spell differently."""


def larger(left: str, right: str) -> str:
    """Return the expression for the larger of two values that are not NULL; PostgreSQL says greatest instead."""
    return f'"max"({left}, {right})'


def smaller(left: str, right: str) -> str:
    """Return the expression for the smaller of two values that are not NULL; PostgreSQL says least instead."""
    return f'"min"({left}, {right})'


def either(condition: str, value: str, otherwise: str) -> str:
    """Return the expression for `value` where the condition holds, and `otherwise` elsewhere."""
    return f"CASE WHEN {condition} THEN {value} ELSE {otherwise} END"
