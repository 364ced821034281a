"""Who is online: sessions, leases, and the addresses at which peers can be reached."""
