"""The environment that alembic runs the migrations in: on a connection to SQLite, or as a script for PostgreSQL."""

from alembic import context

if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql",
        output_buffer=context.config.attributes["script"],
        transactional_ddl=False,  # the caller's transaction has all of them
    )
else:
    context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
