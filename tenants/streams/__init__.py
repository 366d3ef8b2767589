"""Streams: a team's log, handed over to receivers of its own, record by record, in order, each at least once."""
