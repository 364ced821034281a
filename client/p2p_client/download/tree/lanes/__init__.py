"""How what is missing comes: who gives what, small contents packed, large ones one by one."""
