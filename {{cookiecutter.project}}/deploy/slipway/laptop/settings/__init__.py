"""settings.mk and run.env: reading, checking and editing them."""
