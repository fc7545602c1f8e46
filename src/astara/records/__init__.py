"""What must survive a restart, in SQLite or MariaDB: operators' holds, the term, a bounded history."""
