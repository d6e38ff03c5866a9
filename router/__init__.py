"""Which providers serve this call: pure decisions. No Ray, no asyncio, no clock, no I/O."""
