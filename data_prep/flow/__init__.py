"""Optical-flow estimators by the name that ``--flow`` takes."""

from data_prep.flow.dis import Dis

ESTIMATORS = {Dis.name: Dis}
