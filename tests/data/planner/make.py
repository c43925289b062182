"""Writes workload.csv: two weeks of hours of a production line that works by day, as agents would have measured it.

python3 make.py >workload.csv
"""
import math
import random
from datetime import datetime, timedelta, timezone

# device: mean load, swing of the day, hour of the peak, what weekends are of it
DEVICES = {
    "controller-1": (45, 30, 13, 0.5),
    "gateway-1": (40, 25, 14, 0.7),
    "gateway-2": (38, 25, 15, 0.7),
    "camera-1": (35, 30, 12, 0.6),
    "camera-2": (35, 30, 12, 0.6),
    "camera-3": (30, 20, 1, 1.0),
    "camera-4": (30, 25, 16, 0.6),
    "press-1": (55, 35, 11, 0.3),
    "press-2": (50, 35, 11, 0.3),
}

random.seed(20261101)
start = datetime(2026, 11, 1, tzinfo=timezone.utc)
print("device,slot_start,compute,memory,availability,response_ms,storage")
for device, (mean, swing, peak, weekend) in DEVICES.items():
    drift = 0.0
    for hour in range(15 * 24):
        at = start + timedelta(hours=hour)
        drift = 0.8 * drift + random.gauss(0, 2)
        rhythm = mean + swing * math.cos(2 * math.pi * (at.hour - peak) / 24)
        if at.weekday() >= 5:
            rhythm *= weekend
        compute = min(100.0, max(0.0, rhythm + drift + random.gauss(0, 3)))
        memory = min(100.0, max(0.0, 0.6 * rhythm + 20 + random.gauss(0, 2)))
        response = max(1.0, 5 + compute / 4 + random.gauss(0, 1))
        print(f"{device},{at:%Y-%m-%dT%H:%M:%SZ},{compute:.1f},{memory:.1f},{100 - compute / 50:.1f},{response:.1f},{30 + hour / 40:.1f}")
