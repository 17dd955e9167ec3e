%%% How many calls a worker writes into the pipe of its interpreter.
-module(py_window_tests).

-include_lib("eunit/include/eunit.hrl").

%% One call at a time, each answered after so many microseconds.
served(0, _Us, Now, Window) -> {Now, Window};
served(Count, Us, Now, Window) -> served(Count - 1, Us, Now + Us, py_window:answered(1, Now + Us, py_window:began(Now, Window))).

begins_at_one_test() ->
    ?assertEqual(1, py_window:room(0, 0, py_window:new())),
    ?assertEqual(0, py_window:room(1, 0, py_window:new())).

short_calls_widen_it_test() ->
    {Now, Window} = served(10, 100, 0, py_window:new()),
    ?assertEqual(11, py_window:room(0, Now, Window)),
    ?assertEqual(4, py_window:room(7, Now, Window)).

it_holds_no_more_than_ten_milliseconds_of_work_test() ->
    {Now, Window} = served(1_000, 400, 0, py_window:new()),
    ?assertEqual(25, py_window:room(0, Now, Window)),
    {_, Tiny} = served(1_000, 1, 0, py_window:new()),
    ?assertEqual(1_001, py_window:room(0, 1_000, Tiny)).

many_answers_together_widen_it_by_as_many_test() ->
    Window = py_window:answered(64, 640, py_window:began(0, py_window:new())),
    ?assertEqual(65, py_window:room(0, 640, Window)).

a_slow_call_makes_it_one_test() ->
    {Now, Window} = served(10, 100, 0, py_window:new()),
    Slow = py_window:answered(1, Now + 2_000, py_window:began(Now, Window)),
    ?assertEqual(1, py_window:room(0, Now + 2_000, Slow)).

one_that_is_a_little_late_halves_it_test() ->
    {Now, Window} = served(10, 100, 0, py_window:new()),
    Late = py_window:answered(1, Now + 1_999, py_window:began(Now, Window)),
    ?assertEqual(5, py_window:room(0, Now + 1_999, Late)),
    {Later, Next} = served(9, 1_000, Now, Window),
    ?assertEqual(2, py_window:room(0, Later, Next)).

those_of_a_millisecond_have_the_next_one_at_hand_test() ->
    {Now, Window} = served(3, 1_100, 0, py_window:new()),
    Began = py_window:began(Now, Window),
    ?assertEqual({1, 0}, {py_window:room(1, Now + 1_000, Began), py_window:room(1, Now + 1_001, Began)}),
    {Later, Slow} = served(1, 2_000, Now, Window),
    ?assertEqual(1, py_window:room(0, Later, Slow)).

a_pause_makes_it_one_test() ->
    {Now, Window} = served(10, 100, 0, py_window:new()),
    ?assertEqual(1, py_window:room(0, Now + 20_001, py_window:began(Now + 20_001, Window))),
    ?assertEqual(11, py_window:room(0, Now + 20_000, py_window:began(Now + 20_000, Window))).

nothing_is_written_behind_an_old_call_test() ->
    {Now, Window} = served(10, 100, 0, py_window:new()),
    Began = py_window:began(Now, Window),
    %% Short ones are answered many at a time.
    ?assertEqual(10, py_window:room(1, Now + 3_000, Began)),
    ?assertEqual(0, py_window:room(1, Now + 3_001, Began)),
    Slow = py_window:began(Now + 5_000, py_window:answered(1, Now + 5_000, Began)),
    {Later, Two} = served(1, 400, Now + 5_000, Slow),
    ?assertEqual({1, 0}, {py_window:room(1, Later + 3_000, Two), py_window:room(1, Later + 3_001, Two)}),
    ?assert(py_window:is_old(Now + 6_001, Slow)),
    ?assertNot(py_window:is_old(Now + 6_000, Slow)).

each_thread_has_the_next_call_at_hand_test_() ->
    [
        ?_assertEqual(Room, py_window:room_of_threads(Open, Asking, 4))
     || {Open, Asking, Room} <- [{0, 0, 8}, {3, 0, 5}, {8, 0, 0}, {9, 0, 0}, {8, 2, 2}, {300, 300, 0}, {260, 300, 4}]
    ].

tiny_calls_may_be_many_at_once_test() ->
    Tiny = py_window:fill(100, py_window:new()),
    ?assertEqual(100, py_window:room(0, 0, Tiny)),
    ?assertEqual(99, py_window:room(1, 0, Tiny)),
    ?assertEqual(0, py_window:room(100, 0, Tiny)),
    ?assertEqual(1, py_window:room(0, 0, py_window:fill(0, Tiny))).

that_stays_whatever_the_answers_say_test() ->
    [
        ?assertEqual(100, py_window:room(0, Us, py_window:answered(Count, Us, py_window:fill(100, py_window:new()))))
     || {Count, Us} <- [{1, 100}, {1, 600}, {1, 10_000}, {4, 10_000}]
    ],
    ?assertEqual(100, py_window:room(0, 0, py_window:began(100_000, py_window:fill(100, py_window:new())))).

%% Where calls are tiny the machine may be busy; but not for long.
a_tiny_call_is_slow_later_test() ->
    Tiny = py_window:began(0, py_window:fill(100, py_window:new())),
    ?assertNot(py_window:is_old(5_000, Tiny)),
    ?assertEqual(99, py_window:room(1, 5_000, Tiny)),
    ?assert(py_window:is_old(5_001, Tiny)),
    ?assertEqual(0, py_window:room(1, 5_001, Tiny)).

tiny_calls_fill_it_with_a_millisecond_of_them_test() ->
    ?assertEqual(100, py_window:tiny({0, 0, 0}, {100, 100, 1_000_000}, 0)),
    ?assertEqual(128, py_window:tiny({0, 0, 0}, {100, 100, 100_000}, 0)),
    ?assertEqual(128, py_window:tiny({0, 0, 0}, {100, 100, 0}, 0)).

what_has_been_since_the_last_look_counts_test() ->
    ?assertEqual(100, py_window:tiny({100, 0, 0}, {200, 100, 1_000_000}, 0)),
    ?assertEqual(0, py_window:tiny({100, 100, 0}, {200, 200, 10_000_000}, 0)).

calls_that_are_longer_do_not_test() ->
    ?assertEqual(33, py_window:tiny({0, 0, 0}, {100, 100, 3_000_000}, 0)),
    ?assertEqual(0, py_window:tiny({0, 0, 0}, {100, 100, 3_100_000}, 0)).

calls_that_may_be_slow_do_not_test() ->
    ?assertEqual(128, py_window:tiny({0, 0, 0}, {100, 88, 0}, 0)),
    ?assertEqual(0, py_window:tiny({0, 0, 0}, {100, 87, 0}, 0)).

few_calls_do_not_test() ->
    ?assertEqual(128, py_window:tiny({0, 0, 0}, {16, 16, 0}, 0)),
    ?assertEqual(0, py_window:tiny({0, 0, 0}, {15, 15, 0}, 0)),
    ?assertEqual(0, py_window:tiny({100, 100, 0}, {100, 100, 0}, 0)).

nobody_fills_one_that_holds_some_back_test() ->
    ?assertEqual(0, py_window:tiny({0, 0, 0}, {100, 100, 0}, 1)).

a_new_interpreter_has_a_new_page_test() ->
    ?assertEqual(128, py_window:tiny({1_000, 1_000, 50_000}, {20, 20, 1_000}, 0)),
    ?assertEqual(0, py_window:tiny({1_000, 1_000, 50_000}, {0, 0, 0}, 0)).
