"""The sub-commands of ``restante`` that need neither pymilter nor Flask, one module each."""
