"""The database on a PostgreSQL server, which replicas of Berth share."""
