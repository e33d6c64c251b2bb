"""Reading pictures with tesseract, where the settings ask for it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from restante.classify.extract.job import Job

PROGRAM = "/usr/bin/tesseract"
_SECONDS = 10.0


def recognise(job: Job, place: str, picture: bytes) -> None:
    """Write the text that tesseract sees in ``picture``.  What it cannot do is said, never passed over."""
    job.meter.images += 1
    if job.meter.images > job.limits.ocr_images:
        job.output.sealed(place, f"more than {job.limits.ocr_images} pictures to read")
        return
    try:
        done = subprocess.run(
            [PROGRAM, "stdin", "stdout", "-l", job.limits.ocr],
            input=picture,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            env={"OMP_THREAD_LIMIT": "1", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        )
    except subprocess.TimeoutExpired:
        job.output.sealed(place, "a picture that takes too long to read")
        return
    except OSError:
        job.output.sealed(place, "a picture, and tesseract does not run")
        return
    if done.returncode != 0:
        job.output.sealed(place, "a picture that tesseract cannot read")
        return
    job.output.say(place, done.stdout.decode("utf-8", "replace"))
