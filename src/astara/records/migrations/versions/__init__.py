"""One file per revision; numbers only grow, there is one line of them."""
