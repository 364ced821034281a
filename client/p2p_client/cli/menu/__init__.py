"""The interactive menu: five entries, a prompt that stays usable, transfers behind it."""
