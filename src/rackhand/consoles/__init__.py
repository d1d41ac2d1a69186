"""Serial consoles: one session with a BMC, shared by its viewers, recorded, and never longer open than needed."""
