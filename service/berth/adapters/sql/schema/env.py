"""What alembic runs around the migrations: it hands them the connection of `migrate`."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
