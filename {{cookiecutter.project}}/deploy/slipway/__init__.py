"""The machinery behind the make targets: each folder is named after where its code runs."""
