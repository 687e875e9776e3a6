"""The simulator: canonical events of a made-up company, with the truth about them beside.

``simulate`` is all that other packages use. Nothing here reads a clock or the network.
"""

from ingest.simulator.engine import SIZES, Simulation, simulate

__all__ = ["SIZES", "Simulation", "simulate"]
