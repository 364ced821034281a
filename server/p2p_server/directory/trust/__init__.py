"""Who may do what: challenges, certificates, the proof that Register carries, grants."""
