"""Mail to people: what it says, how it is written (RFC 5322) and who carries it (RFC 5321)."""
