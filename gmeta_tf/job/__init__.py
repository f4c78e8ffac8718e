"""One job of many ranks: its collectives, its ends, and who tells of them."""
