"""The consumer of im-chat-topic: what gives messages their places.

A batch of records goes through these steps, each once for the batch however many records it has:
what is known already, who may speak to whom, places (`seq`) and rows in one transaction, then
delivery to gateways and offline lists, then the offset.
"""
