"""Runs the whole backend on one machine: its servers, its services, and real servers for tests."""
