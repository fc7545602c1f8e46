"""What must survive a restart, in SQLite: operators' holds, the term, and a bounded history. Never in the way."""
