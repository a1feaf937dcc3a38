"""What `products` calls that which it times; knows no measurement."""

SESSIONS = "sessions"  # the faster of the two below
ONE_SESSION = "one session"
LANES = "lanes"
