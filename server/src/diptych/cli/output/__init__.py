"""Print lines, tables, JSON, progress bars and summaries of failures. Read `console` first."""
