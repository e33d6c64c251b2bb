"""The store: held messages, links, outbox, evidence, administrators and audit, on SQLite or PostgreSQL.

``engine`` opens it, ``models`` describes it, ``holding`` is the only module that changes the state of a held
message.  Times are Unix seconds throughout.
"""
