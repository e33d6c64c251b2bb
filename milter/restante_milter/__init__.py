"""Everything that faces the MTA: the milter, the worker's servers, and what they submit.

Named ``restante_milter`` because pymilter's own C module is called ``milter``.
"""
