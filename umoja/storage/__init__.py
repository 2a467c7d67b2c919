"""Storage: database files, migrations and the outbox."""
