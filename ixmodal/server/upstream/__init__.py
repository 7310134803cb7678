"""Models that other servers answer for, over HTTP.

`forward` passes requests on as they are, at once or when the model here is full; `relay` passes streams back;
`chat_body`, `chat_stream` and `turns` make a turn of an upstream's chat completions, for responses and agents.
"""

from __future__ import annotations
