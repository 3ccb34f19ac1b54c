"""What commands share: options, and how results, tables and progress are printed."""
