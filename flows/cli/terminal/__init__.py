"""What the commands print: results, tables, progress."""
