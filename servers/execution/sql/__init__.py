"""What the kinds of databases have in common: their tools' words and schemas, arguments and results. Runs no SQL."""
