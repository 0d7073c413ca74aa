"""What the API refuses, in the form that OpenAI's clients understand."""

from __future__ import annotations

from typing import Any, Final

from localr1.errors import ContextFull, LocalR1Error

_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
}


class Refusal(Exception):
    """A request that is not answered.

    Args:
        status: The HTTP status.
        message: What happened, and what to do.
        param: The field of the request that is wrong.
        code: A short name for programs.
    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    @classmethod
    def of(cls, error: LocalR1Error) -> Refusal:
        """The refusal for an error of the engine."""
        if isinstance(error, ContextFull):
            return cls(400, str(error), param="messages", code="context_length_exceeded")
        return cls(500, str(error), code="engine_error")

    @property
    def body(self) -> dict[str, Any]:
        """The answer."""
        return {
            "error": {
                "message": self.message,
                "type": _KINDS.get(self.status, "server_error"),
                "param": self.param,
                "code": self.code,
            }
        }
