"""The tables of the store in SQLite, and how older files come to have them."""

from __future__ import annotations

import sqlite3

VERSION = 2
TABLES = """
CREATE TABLE documents (
    kind TEXT NOT NULL, id TEXT NOT NULL, used REAL NOT NULL, owner TEXT, body BLOB NOT NULL, UNIQUE (kind, id)
);
CREATE INDEX documents_by_use ON documents (kind, used) WHERE owner IS NULL;
CREATE INDEX documents_open ON documents (kind, owner) WHERE owner IS NOT NULL;
CREATE TABLE keys (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL,
    FOREIGN KEY (kind, id) REFERENCES documents (kind, id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX keys_by_document ON keys (kind, id);
CREATE TABLE entries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL, document TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL,
    UNIQUE (kind, document, id),
    FOREIGN KEY (kind, document) REFERENCES documents (kind, id) ON DELETE CASCADE
);
"""
_LEASES = """
ALTER TABLE documents ADD COLUMN held REAL NOT NULL DEFAULT 0;
ALTER TABLE documents ADD COLUMN ending INTEGER NOT NULL DEFAULT 0;
"""
_STEPS = (TABLES, _LEASES)
"""What leads from each version to the next."""


def migrate(connection: sqlite3.Connection) -> int:
    """Bring a file to this version. Returns the version that it had, which is newer if nothing was done."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for step in _STEPS[version:]:
            for statement in step.split(";"):
                connection.execute(statement)
        if version < VERSION:
            connection.execute(f"PRAGMA user_version = {VERSION}")
    return int(version)
