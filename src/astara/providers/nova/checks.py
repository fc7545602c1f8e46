"""What `astara doctor` says of the cloud."""

from __future__ import annotations

from collections.abc import Iterator

from astara.model.errors import AstaraError
from astara.model.operator import CheckLine
from astara.providers.nova.boundary import Cloud


def examine(cloud: Cloud) -> Iterator[CheckLine]:
    """Judge each finding; a cloud that does not answer is one too."""
    try:
        for found in cloud.shortcomings():
            yield CheckLine(
                check=f"nova {found.what}", ok=found.remedy is None, detail=found.detail, remedy=found.remedy or ""
            )
    except AstaraError as error:
        yield CheckLine(check="nova", ok=False, detail=str(error), remedy=error.remedy)
