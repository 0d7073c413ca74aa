"""Token pieces to text: bytes in, whole characters out."""

from __future__ import annotations

import codecs


class TextDecoder:
    """Turns the bytes of successive tokens into text, holding back unfinished characters.

    The text of a reply does not depend on how its bytes are cut into tokens; bytes that are no
    UTF-8 become U+FFFD instead of stalling the stream.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, piece: bytes) -> str:
        """The characters completed by this piece."""
        return self._decoder.decode(piece)

    def flush(self) -> str:
        """What is left, as U+FFFD, and start anew."""
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text
