"""What Modal's client raises while it reads and writes Dicts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpclib
import modal

from ixmodal.server.store import StoreError


@asynccontextmanager
async def told() -> AsyncIterator[None]:
    """Tell it as a store does. Modal's own words are for the log.

    Raises:
        StoreError: whatever Modal's client raised.
    """
    try:
        yield
    except modal.exception.RequestSizeError as error:
        raise StoreError("This is too large for what it is stored in.") from error
    except (modal.exception.Error, grpclib.GRPCError, OSError) as error:
        raise StoreError("What is stored can't be reached now. Please try again later.") from error
