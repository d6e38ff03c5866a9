"""What runs inside one process: links, session hosts, sessions, provider hosts, the router's books. No Ray."""
