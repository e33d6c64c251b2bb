"""Everything that faces a browser: recipients who pick up, administrators who review."""
