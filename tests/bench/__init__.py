"""What Restante costs, measured through a real Postfix: run ``python -m tests.bench``."""
