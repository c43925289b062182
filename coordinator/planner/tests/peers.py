"""What others say of the planner's questions: NetworkX, scikit-learn, and HiGHS by way of SciPy.

    peers.py similarities|regressions|plans < questions.json > answers.json

and how long they take for it, in seconds:

    peers.py timed-similarities|timed-regressions < questions.json > answers.json
"""

import functools
import json
import sys
import time


def similarities(graphs):
    """SimRank of all pairs, by in-neighbours: {size, edges: [[source, target, weight]]} -> [[similarity]]."""
    import networkx
    import numpy

    # NetworkX ends rounds when they change next to nothing, relatively to 1e-5 too: that is not exact enough here.
    numpy.allclose = functools.partial(numpy.allclose, rtol=0)
    for graph in graphs:
        peer = networkx.MultiDiGraph()
        peer.add_nodes_from(range(graph["size"]))
        peer.add_weighted_edges_from(map(tuple, graph["edges"]))
        found = networkx.simrank_similarity(peer, importance_factor=graph["decay"], tolerance=1e-12)
        yield [[found[a][b] for b in range(graph["size"])] for a in range(graph["size"])]


def timed_similarities(graphs):
    """As NetworkX does it, to a tolerance of its own kind."""
    import networkx

    for graph in graphs:
        peer = networkx.DiGraph()
        peer.add_nodes_from(range(graph["size"]))
        peer.add_weighted_edges_from(map(tuple, graph["edges"]))
        begun = time.perf_counter()
        networkx.simrank_similarity(peer, importance_factor=graph["decay"], tolerance=graph["tolerance"])
        yield time.perf_counter() - begun


def regressions(samples):
    """Linear regression: {features: [[value]], targets: [value]} -> [constant, factor...]."""
    from sklearn.linear_model import LinearRegression

    for sample in samples:
        fit = LinearRegression().fit(sample["features"], sample["targets"])
        yield [fit.intercept_, *fit.coef_]


def timed_regressions(questions):
    """Each sample is fitted again and again."""
    import numpy
    from sklearn.linear_model import LinearRegression

    for question in questions:
        samples = [(numpy.array(s["features"]), numpy.array(s["targets"])) for s in question["samples"]]
        begun = time.perf_counter()
        for _ in range(question["times"]):
            for features, targets in samples:
                LinearRegression().fit(features, targets)
        yield time.perf_counter() - begun


def plans(problems):
    """The least disruption of all plans, or null if there is none, as a mixed-integer program."""
    for problem in problems:
        yield least(problem)


def least(problem):
    import numpy
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    devices, slots = len(problem["loads"]), len(problem["open"])
    pairs = [(number, by) for number, (_, by, _) in enumerate(problem["standbys"])]
    size = (devices + len(pairs)) * slots

    def upgraded(device, slot):
        return device * slots + slot

    def serves(number, slot):
        return (devices + number) * slots + slot

    costs, most = numpy.zeros(size), numpy.ones(size)
    for device, loads in enumerate(problem["loads"]):
        for slot, load in enumerate(loads):
            costs[upgraded(device, slot)] = load
            most[upgraded(device, slot)] = 1 if problem["open"][slot] else 0
    rows, columns, values, low, high = [], [], [], [], []

    def row(terms, least, most):
        for column, value in terms:
            rows.append(len(low))
            columns.append(column)
            values.append(value)
        low.append(least)
        high.append(most)

    for device in range(devices):
        row([(upgraded(device, slot), 1) for slot in range(slots)], 1, 1)
    for first, then in problem["order"]:
        # Whoever is done by a slot waits for one who was done before it.
        for slot in range(slots):
            done = [(upgraded(then, t), 1) for t in range(slot + 1)]
            row(done + [(upgraded(first, t), -1) for t in range(slot)], -numpy.inf, 0)
    capacity = {}
    for _, by, capable in problem["standbys"]:
        capacity[by] = min(capable, capacity.get(by, capable))
    for slot in range(slots):
        if problem["max_in_flight"] is not None:
            row([(upgraded(device, slot), 1) for device in range(devices)], 0, problem["max_in_flight"])
        for device, members, limit in problem["gateways"]:
            row([(upgraded(member, slot), 1) for member in members] + [(upgraded(device, slot), limit)], 0, limit)
        for members, limit in problem["sets"]:
            row([(upgraded(member, slot), 1) for member in members], 0, limit)
        for device in {device for device, _, _ in problem["standbys"]}:
            own = [(serves(number, slot), -1) for number, (other, _, _) in enumerate(problem["standbys"]) if other == device]
            row([(upgraded(device, slot), 1), *own], -numpy.inf, 0)
        for by, limit in capacity.items():
            served = [(serves(number, slot), 1) for number, other in pairs if other == by]
            row([*served, (upgraded(by, slot), limit)], 0, limit)
    matrix = csr_array((values, (rows, columns)), shape=(len(low), size))
    found = milp(
        costs,
        constraints=LinearConstraint(matrix, low, high),
        integrality=numpy.ones(size),
        bounds=Bounds(0, most),
        options={"mip_rel_gap": 0},
    )
    if found.status == 2:
        return None
    assert found.status == 0, found.message
    return found.fun


def main():
    answers = {
        "similarities": similarities,
        "regressions": regressions,
        "plans": plans,
        "timed-similarities": timed_similarities,
        "timed-regressions": timed_regressions,
    }
    json.dump(list(answers[sys.argv[1]](json.load(sys.stdin))), sys.stdout)


main()
