"""The attachments application: before and after a change, and with werkzeug in its place."""
