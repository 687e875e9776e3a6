import cProfile, pstats, random, time
from datetime import timedelta
from tests.lab import Lab, span
from tests.event_worlds import random_events
from tests.advisor_worlds import START
def test_x(duckdb_lab):
    lab=duckdb_lab
    lab.reset()
    lab.load(1, random_events(random.Random(3), days=5, count=60))
    sel=["+metrics_daily_calls"]
    for i in range(3):
        t=time.process_time(); w=time.time()
        lab.build(START, START+timedelta(days=4), sel)
        print("build", round(time.process_time()-t,2), round(time.time()-w,2), lab.selected)
    p=cProfile.Profile(); p.enable()
    lab.build(START, START+timedelta(days=4), sel)
    p.disable()
    s=pstats.Stats(p); s.sort_stats("cumulative").print_stats(70)
