"""NATS JetStream between receivers and writers, if COLLECTOR_NATS_URL is set.

`naming` and `message` are pure: stream, subjects, and the form of an entry in a message. `duties`
is the work of a participant. `extra` checks that the client library is installed; the other modules
import it and are imported only where the setting is set. `connection` connects, `publishing` sends
messages and awaits their acknowledgements. `board` keeps orders of owners (`orders`), who has
carried them out (`participants`), and the keys of messages (`sealing`); `erasing` gives an order
and clears the stream.
"""
