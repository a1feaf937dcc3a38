"""What commands print: lines, tables, JSON, progress bars and summaries of failures. Read `console` first."""
