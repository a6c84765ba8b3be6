"""Registers: tile shapes of the processor, denormal numbers."""
