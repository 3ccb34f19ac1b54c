"""What people read of a conversion: summary.md, report.html, plots and the node table, all from dataclasses."""
