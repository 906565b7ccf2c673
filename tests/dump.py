"""Everything that a database holds, as one would find it in a stolen copy."""

import asyncpg

SYSTEM_SCHEMAS = ("pg_catalog", "information_schema", "pg_toast")


async def dumped(db_url: str) -> bytes:
    """All rows of all tables as text, in order of table and row."""
    db = await asyncpg.connect(db_url)
    try:
        tables = await db.fetch(
            """
            SELECT format('%I.%I', schemaname, tablename) AS name
              FROM pg_tables
             WHERE schemaname <> ALL ($1)
             ORDER BY name
            """,
            SYSTEM_SCHEMAS,
        )
        lines = []
        for table in tables:
            query = f"SELECT t::text AS row FROM {table['name']} AS t ORDER BY 1"  # noqa: S608 (a quoted identifier)
            lines += [f"{table['name']} {row['row']}" for row in await db.fetch(query)]
    finally:
        await db.close()
    return "\n".join(lines).encode()
