"""Reading what somebody sends over HTTP, as far as it is allowed to go."""

from fastapi import HTTPException, Request


async def bounded_body(request: Request, *, most_bytes: int, advice: str = "") -> bytes:
    """The body of a request.

    Raises:
        HTTPException: 413 as soon as more than `most_bytes` have come; `advice` ends the message.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise HTTPException(413, f"a request has at most {most_bytes} bytes{advice}")
    return bytes(body)
