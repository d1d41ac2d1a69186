"""The console: pages over the slices' own queries and service functions, for people with a browser."""
