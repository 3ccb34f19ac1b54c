"""Self-contained HTML pages: of a conversion, of two compared, of a diagnosis."""
