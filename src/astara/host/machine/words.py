"""What a machine says on its console and its node listens for."""

#: It waits for its papers; from here on each clone is somebody else.
TEMPLATE_READY = "astara: template ready"
#: Its agent can be asked; asking before makes it refuse, which costs a machine without KVM more than it costs us.
SERVING = "agent.serving"
