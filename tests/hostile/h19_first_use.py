#!/usr/bin/env python3
"""H19: first use without an identity: the key is recorded and shown, so that
the second fetch can be compared; another one is refused."""

from peer import main, scenario

scenario("tls_get", "first_use", "accept_new_and_changed",
         "asked_on_a_terminal", "known_hosts_that_cannot_be_used")


if __name__ == "__main__":
    main()
