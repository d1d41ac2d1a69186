"""Durable tasks: what an operation is, the engine that runs one, the rows that tell of it."""
