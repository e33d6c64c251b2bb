"""Classification: from the bytes of a message to findings.  Pure, no network, no MTA, no store."""
