"""Reads a usage file into a table and asks it questions. Input and output are JSON."""

import json
import sys
import time

import duckdb

work = json.load(sys.stdin)
database = duckdb.connect()
database.execute("SET enable_progress_bar = false")
# In the order of time, as it is in the index, and with nothing that no question asks for.
database.execute(
    """CREATE TABLE events AS
    SELECT timestamp::TIMESTAMP AS time, * EXCLUDE timestamp
    FROM read_json(?, format = 'newline_delimited', columns = {
        'timestamp': 'TIMESTAMP_MS', 'model': 'VARCHAR', 'api_key_hash': 'VARCHAR', 'provider': 'VARCHAR',
        'operation': 'VARCHAR', 'endpoint': 'VARCHAR', 'status': 'USMALLINT', 'stream': 'BOOLEAN', 'usage': 'VARCHAR',
        'prompt_tokens': 'UBIGINT', 'completion_tokens': 'UBIGINT', 'total_tokens': 'UBIGINT',
        'cache_read_tokens': 'UBIGINT', 'cache_write_tokens': 'UBIGINT', 'reasoning_tokens': 'UBIGINT',
        'duration_ms': 'DOUBLE', 'ttft_ms': 'DOUBLE'})
    ORDER BY time""",
    [work["file"]],
)
database.execute("SET threads = 1")
answers = []
for question in work["questions"]:
    spent = []
    for turn in range(work["turns"]):
        start = time.perf_counter()
        rows = database.execute(question).fetchall()
        spent.append(time.perf_counter() - start)
    spent.sort()
    answers.append(
        {
            "seconds": spent[len(spent) // 2],
            "answer": {
                "requests": sum(row[0] for row in rows),
                "tokens": int(sum(row[1] or 0 for row in rows)),
                "lines": len(rows),
            },
        }
    )
json.dump(answers, sys.stdout)
