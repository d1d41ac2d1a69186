"""What happened, to what, by whom: one append-only table, written in the transaction of the change."""
