"""Operations on whole servers: diagnosing, wiping, installing; each a declared list of steps."""
