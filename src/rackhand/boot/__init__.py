"""Network boot: what each machine boots now, the scripts and files for it, and the agent that then runs on it."""
