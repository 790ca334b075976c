"""What the services share of an instant messenger: ids, frames, topics, routes, lists, access."""
