"""Alembic migrations, shipped in the wheel as ``restante_migrations``."""
