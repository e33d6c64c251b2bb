"""Presidio's processor time on texts: ``python -m tests.bench.presidio_clock``, by an interpreter that has it.

The first line of the output is a JSON object with Presidio's ``version`` and how many ``recognizers`` are on.  After
that each line of input is a JSON list of mails, each a list of texts, and its answer an object with the ``seconds`` of
processor time that all of them took and the ``least`` findings in one mail.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version

from tests.corpus.presidio_engine import LEAST_SCORE, analyzer

LANGUAGE = "en"


def main() -> int:
    """Answer until the input ends."""
    engine = analyzer((LANGUAGE,))
    recognizers = len(engine.get_recognizers(LANGUAGE))
    print(json.dumps({"version": version("presidio-analyzer"), "recognizers": recognizers}), flush=True)
    for line in sys.stdin:
        mails = json.loads(line)
        least = sys.maxsize
        begin = time.process_time()
        for texts in mails:
            found = [engine.analyze(text, language=LANGUAGE, score_threshold=LEAST_SCORE) for text in texts]
            least = min(least, sum(map(len, found)))
        print(json.dumps({"seconds": time.process_time() - begin, "least": least}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
