"""`echorank demo`: train, stream, kill, recover and report."""
