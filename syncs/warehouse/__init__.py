"""History for analysts: runs, batches, versions, who entered and left, and who was rejected.

    tables (what, in which order) ─▶ export (what is new) ─▶ postgres | parquet (rows and position at once)

How far a table was written stands in the target itself, and is written with the rows: whatever dies in
between, the next export goes on behind the last row that is there.
"""
