"""Durable workflows: they decide, and activities do."""
