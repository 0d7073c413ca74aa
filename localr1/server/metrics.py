"""The figures of a server, in Prometheus's text form. Pure."""

from __future__ import annotations

from typing import Final

from localr1.server.desk import Counts

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def written(counts: Counts, *, waiting: int, running: int) -> str:
    """Everything that is counted."""
    plain = (
        ("replies_total", "counter", "Replies that ended.", counts.replies),
        ("replies_cancelled_total", "counter", "Replies whose client left.", counts.cancelled),
        ("engine_starts_total", "counter", "Times the model was loaded.", counts.engine_starts),
        ("prompt_tokens_total", "counter", "Prompt tokens.", counts.prompt_tokens),
        ("cached_tokens_total", "counter", "Of them, found in the cache.", counts.cached_tokens),
        ("thinking_tokens_total", "counter", "Thinking tokens.", counts.thinking_tokens),
        ("answer_tokens_total", "counter", "Answer tokens.", counts.answer_tokens),
        ("prompt_seconds_total", "counter", "Time in prompts.", counts.prompt_seconds),
        ("generation_seconds_total", "counter", "Time in replies.", counts.generation_seconds),
        ("requests_running", "gauge", "Replies being written now.", running),
        ("requests_waiting", "gauge", "Requests in the queue now.", waiting),
    )
    lines = []
    for name, kind, text, value in plain:
        lines += [f"# HELP localr1_{name} {text}", f"# TYPE localr1_{name} {kind}"]
        lines.append(f"localr1_{name} {value}")
    lines += [
        "# HELP localr1_requests_total Requests by path and status.",
        "# TYPE localr1_requests_total counter",
    ]
    lines += [
        f'localr1_requests_total{{path="{path}",status="{status}"}} {count}'
        for (path, status), count in sorted(counts.requests.items())
    ]
    return "\n".join(lines) + "\n"
