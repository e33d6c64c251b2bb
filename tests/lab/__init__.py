"""The lab: a small internet of network namespaces with its own signed DNS, MTAs that misbehave, and a private Postfix.

It needs root.  It never touches the host's network, its resolver or a Postfix that is installed there: everything
lives in namespaces and in one run directory, and goes away with the :class:`tests.lab.lab.Lab` that made it.
"""
