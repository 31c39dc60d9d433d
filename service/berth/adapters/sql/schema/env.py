"""The environment that alembic runs the migrations in; it uses the connection of `migrate`."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
