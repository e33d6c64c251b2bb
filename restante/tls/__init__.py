"""TLS evidence: what is known of a domain's ability to receive mail over TLS."""
