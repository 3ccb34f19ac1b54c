"""What notebooks show of plans, conversions, searches and lint: tables and the report's plots, as HTML."""

from autocast_core.notebook.views import html_of

__all__ = ["html_of"]
