"""Numbers of objects: what stays the same when drawn squares cross, vanish, touch and part."""

import numpy as np
import pytest

from dystab_jax.prediction.objects import MEMORY, MOST_OBJECTS, ObjectTracker
from tests.support.drawn_objects import BLUE, GREEN, GREY, RED, Box, draw


def track(scenes, **options):
    """Numbers of every frame, and the true ones; each scene is a list of boxes."""
    tracker, found, true = ObjectTracker(), [], []
    for t, boxes in enumerate(scenes):
        frame, numbers = draw(boxes, t=t, first=t == 0, **options)
        found.append(tracker.numbers(frame))
        true.append(numbers)
        np.testing.assert_array_equal(found[-1] != 0, frame.mask != 0)  # no pixel is lost or won
    return found, true


def of_box(found, true, box):
    """Number that most pixels of a box have, in the frames that show it."""
    return [
        int(np.bincount(f[t == box]).argmax()) if (t == box).any() else 0
        for f, t in zip(found, true, strict=True)
    ]


def agree(found, true):
    return np.mean([(f == t)[t > 0].mean() for f, t in zip(found, true, strict=True)])


def test_two_that_move_apart_from_each_other():
    scenes = [
        [Box(5 + 4 * t, 5, 20, 20, RED, (4, 0)), Box(70 - 4 * t, 35, 12, 12, BLUE, (-4, 0))]
        for t in range(15)
    ]
    found, true = track(scenes)
    np.testing.assert_array_equal(found, true)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_flow_decides_and_not_the_place(scale):
    # Each moves in one step to where the other was.
    scenes = [
        [Box(10, 10, 20, 20, GREY, (0, 0)), Box(50, 10, 20, 20, GREY, (0, 0))],
        [Box(50, 10, 20, 20, GREY, (40, 0)), Box(10, 10, 20, 20, GREY, (-40, 0))],
    ]
    found, true = track(scenes, flow_scale=scale)
    np.testing.assert_array_equal(found, true)


def test_crossing():
    # The blue one passes in front; for some frames they are one region.
    scenes = [
        [Box(4 + 3 * t, 20, 16, 16, RED, (3, 0)), Box(80 - 3 * t, 20, 16, 26, BLUE, (-3, 0))]
        for t in range(27)
    ]
    found, true = track(scenes)
    assert of_box(found, true, 1)[0] != of_box(found, true, 2)[0]
    for box in (1, 2):
        numbers = of_box(found, true, box)
        assert numbers[0] == numbers[-1]
    assert max(map(np.max, found)) == 2


def test_touching_ones_keep_their_pixels():
    scenes = [
        [
            Box(5 + min(3 * t, 30), 20, 20, 20, RED, (3 if 0 < t <= 10 else 0, 0)),
            Box(55, 20, 20, 20, BLUE),
        ]
        for t in range(20)
    ]
    found, true = track(scenes)
    np.testing.assert_array_equal(found, true)
    back = [[Box(35 - 3 * t, 20, 20, 20, RED, (-3, 0)), Box(55, 20, 20, 20, BLUE)] for t in (1, 2)]
    found, true = track(scenes + back)
    np.testing.assert_array_equal(found, true)


def test_fragment_is_absorbed_when_it_joins():
    # It was by itself in one frame only: no wart of another number is left on the object.
    scenes = [
        [Box(20, 10, 30, 30)],
        [Box(20, 10, 30, 30), Box(54, 20, 6, 6, BLUE)],
        [Box(20, 10, 30, 30), Box(48, 20, 6, 6, BLUE, (-6, 0))],
        [Box(20, 10, 30, 30), Box(48, 20, 6, 6, BLUE)],
    ]
    found, _ = track(scenes)
    assert set(np.unique(found[1])) == {0, 1, 2}
    assert set(np.unique(found[2])) == set(np.unique(found[3])) == {0, 1}


def test_object_of_which_a_fragment_is_apart_is_not_absorbed():
    # What is apart when they touch is the smaller part; the number of the object is not it alone.
    def boxes(t):
        left, step = 4 + 2 * min(t, 12), (2 if 0 < t <= 12 else 0, 0)
        return [
            Box(50, 10, 30, 40, BLUE),
            Box(left, 20, 22, 20, RED, step),
            Box(left, 14 if t > 6 else 16, 8, 4, RED, step),
        ]

    found, true = track([boxes(t) for t in range(16)])
    shares = [(found[-1] == n)[true[-1] == box].mean() for box, n in ((1, 1), (2, 2), (3, 2))]
    assert min(shares) > 0.9


def test_colors_tell_what_flow_smears():
    # What the red one has just uncovered was red at the same place a frame earlier: by flow alone
    # it leaves a trail.
    scenes = [
        [Box(30, 10, 40, 40, BLUE), Box(2 + 3 * t, 20, 14, 14, RED, (3, 0))] for t in range(24)
    ]
    assert agree(*track(scenes)) > 0.98


def test_colors_decide_which_is_which_where_flow_has_mixed_them():
    boxes = [Box(10, 10, 40, 30, RED), Box(70, 10, 20, 20, BLUE)]
    tracker = ObjectTracker()
    for t in range(2):
        frame, true = draw(boxes, t=t, first=t == 0)
        if t:  # Most of both seems to come from the middle of the blue one.
            x, y = np.meshgrid(np.arange(100), np.arange(60))
            frame.trace.flows[-1][10:40, 10:38] = np.stack([80 - x, 20 - y], -1)[10:40, 10:38]
            frame.trace.flows[-1][10:14, 70:90] = np.stack([30 - x, 20 - y], -1)[10:14, 70:90]
        found = tracker.numbers(frame)
    np.testing.assert_array_equal(found, true)


@pytest.mark.parametrize(("gone", "again"), [(3, True), (MEMORY - 1, True), (MEMORY + 1, False)])
def test_vanishing(gone, again):
    here = [Box(10, 10, 20, 20, RED), Box(60, 30, 20, 20, BLUE)]
    found, true = track([here] * 3 + [here[1:]] * gone + [here])
    one, other = of_box([found[0], found[-1]], [true[0], true[-1]], 1)
    assert (one == other) is again
    assert found[-1][40, 70] == found[0][40, 70]
    assert set(np.unique(found[3])) == {0, found[0][40, 70]}


@pytest.mark.parametrize("now", [Box(10, 10, 20, 20, GREEN), Box(75, 38, 20, 20, RED)])
def test_another_that_comes_where_one_vanished_is_new(now):
    found, _ = track([[Box(10, 10, 20, 20, RED)]] * 3 + [[]] * 3 + [[now]])
    assert set(np.unique(found[-1])) == {0, 2}


def test_moving_on_while_hidden():
    def box(t):
        return Box(5 + 3 * t, 20, 12, 12, RED, (3, 0))

    found, true = track(
        [[box(t)] for t in range(8)] + [[]] * 12 + [[box(t)] for t in range(20, 24)]
    )
    assert of_box(found, true, 1)[-1] == 1


def test_passing_behind():
    # Hidden altogether for a while, and part of the other's region just before and after.
    scenes = [
        [Box(2 + 3 * t, 24, 10, 10, RED, (3, 0)), Box(40, 10, 24, 40, BLUE)] for t in range(29)
    ]
    found, true = track(scenes)
    red, blue = of_box(found, true, 1), of_box(found, true, 2)
    assert red[0] == red[-1] != blue[0] and set(blue) == {blue[0]}


def test_parts_near_each_other_stay_one_and_distant_ones_do_not():
    whole = [Box(30, 20, 30, 20)]
    pole = [Box(30, 20, 12, 20), Box(46, 20, 14, 20)]
    found, _ = track([whole, pole, whole])
    assert all(set(np.unique(numbers)) == {0, 1} for numbers in found)
    apart = [
        [Box(30 - 2 * t, 20, 15, 20, RED, (-2, 0)), Box(45 + 2 * t, 20, 15, 20, RED, (2, 0))]
        for t in range(13)
    ]
    found, true = track(apart)
    ends = [found[-1][true[-1] == box] for box in (1, 2)]
    assert [len(set(end)) for end in ends] == [1, 1] and ends[0][0] != ends[1][0]


def test_part_of_another_color_stays_while_it_is_near():
    whole = [Box(20, 20, 40, 20, RED), Box(60, 20, 7, 20, GREEN)]
    found, _ = track([whole, [whole[0], Box(63, 20, 7, 20, GREEN, (3, 0))]])
    assert set(np.unique(found[1])) == {0, 1}


def test_passing_a_pole():
    # No flow leads to what comes out behind it, and what is still before it vanishes at last.
    def frame(t):
        drawn, true = draw([Box(2 + 3 * t, 15, 24, 24, RED, (3, 0))], t=t, first=t == 0)
        drawn.soft[:, 47:55] = true[:, 47:55] = 0
        drawn.trace.flows.get(-1, drawn.soft[..., None])[:, 55:60] = 0
        return drawn, true

    tracker = ObjectTracker()
    for t in range(25):
        drawn, true = frame(t)
        np.testing.assert_array_equal(tracker.numbers(drawn), true)


def test_another_that_comes_near_is_new():
    whole = Box(20, 10, 30, 30, RED)
    found, true = track([[whole]] * 3 + [[whole, Box(55, 10, 20, 20, GREEN)]])
    np.testing.assert_array_equal(found[-1], true[-1])


def test_speck_belongs_to_the_nearest():
    scenes = [[Box(10, 10, 40, 30), Box(80, 10, 20, 20, BLUE), Box(74, 15, 1, 1, BLUE)]] * 2
    found, _ = track(scenes, size=(60, 101))
    assert found[0][15, 74] == found[0][15, 90] and set(np.unique(found[1])) == {0, 1, 2}


def test_nothing_but_specks():
    found, _ = track([[Box(10, 10, 1, 1), Box(50, 50, 2, 1)], [Box(10, 10, 1, 1)]], size=(99, 99))
    assert [set(np.unique(numbers)) for numbers in found] == [{0, 1}, {0, 1}]


def many(count, size=5, step=8, shrink=0):
    return [
        Box(step * (n % 10), step * (n // 10), size - shrink, size - shrink) for n in range(count)
    ]


def test_more_objects_than_numbers():
    scene = many(30, 5)
    scene[25] = scene[25]._replace(width=7, height=7)
    (found, _), (_, true) = track([scene] * 2)
    assert set(np.unique(found)) == set(range(MOST_OBJECTS + 1))
    assert found[true == 26][0] == 1  # the largest comes first
    frame, _ = draw(many(30, 5), shot=1, first=True)
    assert np.unique(ObjectTracker().numbers(frame)).size == MOST_OBJECTS + 1


def test_numbers_of_small_ones_that_are_gone_go_to_larger_ones():
    scene = [many(20, 4)] * 2 + [[]] * (MEMORY + 1) + [[Box(20, 20, 20, 20, BLUE)]]
    found, _ = track(scene)
    assert np.unique(found[-1]).size == 2
    # Where all are remembered, there is one all the same.
    found, _ = track([many(20, 4), [Box(20, 20, 20, 20, BLUE)]])
    assert np.unique(found[-1]).size == 2


def test_cuts():
    first = [Box(10, 10, 20, 20, RED), Box(60, 30, 20, 20, BLUE)]
    tracker = ObjectTracker()
    before = tracker.numbers(draw(first, first=True)[0])
    frame, true = draw(
        [Box(50, 5, 20, 20, RED), Box(10, 12, 20, 20, GREEN)], t=1, shot=1, first=True
    )
    after = tracker.numbers(frame)
    assert set(after[true == 1]) == {before[20, 20]}  # its colours say so
    assert set(after[true == 2]) == {3}  # though it is where the other was


def test_two_alike_after_a_cut_are_new():
    tracker = ObjectTracker()
    tracker.numbers(draw([Box(10, 10, 20, 20, RED)], first=True)[0])
    boxes = [Box(10, 10, 20, 20, RED), Box(60, 10, 20, 20, RED)]
    after = tracker.numbers(draw(boxes, t=1, shot=1, first=True)[0])
    assert set(np.unique(after)) == {0, 2, 3}


def test_empty_frames_and_asking_twice():
    tracker = ObjectTracker()
    frame, _ = draw([], first=True)
    assert not tracker.numbers(frame).any()
    frame, true = draw([Box(10, 10, 20, 20)], t=1)
    np.testing.assert_array_equal(tracker.numbers(frame), true)
    assert tracker.numbers(frame) is tracker.numbers(frame)
