"""What tests of several services share: real servers on free ports, and waiting for events."""
