"""The wire conventions that all routes share: envelope, lists, errors, transactions, idempotency keys."""
