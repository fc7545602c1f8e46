"""What the agent needs of the operating system: namespaces, netlink, nftables, files, processes.

The only room of the agent that makes system calls of that kind; subsystems are written on top of it.
"""
