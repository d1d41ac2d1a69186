"""`make prove`: the product is killed at every moment of every operation; the machines' own log is the judge."""
