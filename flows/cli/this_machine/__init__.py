"""Commands about this machine: its settings, its servers, and what a new folder of models needs."""
