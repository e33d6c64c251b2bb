"""The certificates that a peer presented, as it presented them: DANE judges them itself (RFC 7672, section 3.1).

Python has no public way to them before 3.13; ``_ssl`` has had this one since 3.10.  Where it is missing only the
peer's own certificate is known: that is enough for DANE-EE, and a DANE-TA record then does not match, which delays
mail and lets nothing out.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

_DER: Final = 2  # _ssl.ENCODING_DER


def presented_chain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """The peer's chain in DER, its own certificate first; empty when it showed none."""
    inner: Any = getattr(tls, "_sslobj", None)
    give = getattr(inner, "get_unverified_chain", None)
    certificates = give() if give is not None else None
    if certificates:
        return tuple(bytes(certificate.public_bytes(_DER)) for certificate in certificates)
    own = tls.getpeercert(binary_form=True)
    return (own,) if own else ()
