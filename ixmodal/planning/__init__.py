"""What a deployment will do under a load, before it is paid for: a discrete-event simulation of it."""
