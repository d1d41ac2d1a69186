"""Structured logs: one line per event, with the request's number where there is one."""

import logging

import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str, *, as_json: bool) -> None:
    """Send our lines and those of libraries to standard error."""
    number = LEVELS.get(level.lower(), logging.INFO)
    # Not the tracebacks of rich, which structlog takes when it is installed: they show local variables, so passwords.
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    renderer: structlog.types.Processor = structlog.processors.JSONRenderer() if as_json else plain
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if as_json else structlog.dev.set_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(_stderr()),
    )
    logging.basicConfig(
        level=max(number, logging.WARNING), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    # httpx logs whole URLs; DBOS and alembic tell every start.
    for name in ("httpx", "httpcore", "dbos", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _stderr() -> "structlog.types.WrappedLogger":
    import sys

    return sys.stderr
