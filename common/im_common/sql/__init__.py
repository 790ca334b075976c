"""The database: one interface for MySQL and SQLite, migrations."""
