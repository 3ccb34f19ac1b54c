"""The first screen of report.html: what a conversion gains, and what its reviewer has to look at."""
