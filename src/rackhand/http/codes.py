"""Numbers of errors on the wire."""

from enum import IntEnum


class Code(IntEnum):
    """`error.code` of the envelope.

    1000, 1106, 3001, 3008 and 3080 are the platform's own numbers (api-facts 2.3): clients sign in again on
    1000. The others are ours, made of a family and the HTTP status that usually goes with them.
    """

    UNAUTHENTICATED = 1000
    UNKNOWN_FUNCTION = 1106
    INTERNAL = 1500
    BAD_REQUEST = 2400
    METHOD = 2405
    CONFLICT = 2409
    TOO_LARGE = 2413
    URI_TOO_LONG = 2414
    UNPROCESSABLE = 2422
    BUSY = 2423
    TOO_MANY = 2429
    UNAVAILABLE = 2503
    FORBIDDEN = 3001
    UNKNOWN_PROPERTY = 3008
    NOT_FOUND = 3080
