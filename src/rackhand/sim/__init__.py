"""The virtual rack: simulated servers behind the real protocols, for tests, demonstrations and load."""
