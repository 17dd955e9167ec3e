%%% When a worker that lost its interpreter may start the next; the clock is an argument.
-module(py_restart_tests).

-include_lib("eunit/include/eunit.hrl").

budget() -> py_restart:new(#{max => 3, within => 1_000, delay => 50, max_delay => 400}).

%% What each death at these times leads to.
deaths(Times, Budget) ->
    {Verdicts, _} = lists:mapfoldl(
        fun(Now, Acc) ->
            {Phase, Delay, Left} = py_restart:died(Now, Acc),
            {{Phase, Delay}, Left}
        end,
        Budget,
        Times
    ),
    Verdicts.

the_first_death_is_replaced_at_once_test() ->
    ?assertEqual([{restarting, 0}], deaths([0], budget())).

deaths_within_the_budget_wait_the_base_delay_test() ->
    ?assertEqual([{restarting, 0}, {restarting, 50}, {restarting, 50}], deaths([0, 1, 2], budget())).

beyond_the_budget_it_is_degraded_and_the_delay_doubles_to_its_maximum_test() ->
    ?assertEqual(
        [{degraded, 100}, {degraded, 200}, {degraded, 400}, {degraded, 400}],
        lists:nthtail(3, deaths([0, 1, 2, 3, 4, 5, 6], budget()))
    ).

deaths_far_apart_never_use_up_the_budget_test() ->
    ?assertEqual(lists:duplicate(10, {restarting, 0}), deaths(lists:seq(0, 9_000, 1_000), budget())).

a_death_counts_for_less_than_the_whole_window_test_() ->
    [
        ?_assertEqual({restarting, 50}, lists:last(deaths([0, 999], budget()))),
        ?_assertEqual({restarting, 0}, lists:last(deaths([0, 1_000], budget())))
    ].

an_empty_budget_is_degraded_at_the_first_death_test() ->
    ?assertEqual(
        [{degraded, 100}], deaths([0], py_restart:new(#{max => 0, within => 1_000, delay => 50, max_delay => 400}))
    ).

a_degraded_worker_recovers_when_its_deaths_are_past_test() ->
    ?assertEqual({restarting, 0}, lists:last(deaths([0, 1, 2, 3, 5_000], budget()))).

a_maximum_below_the_base_delay_is_the_base_delay_test() ->
    Small = py_restart:new(#{max => 0, within => 1_000, delay => 50, max_delay => 10}),
    ?assertEqual([{degraded, 50}, {degraded, 50}], deaths([0, 1], Small)).

the_list_of_deaths_stays_short_test() ->
    {_, _, Budget} = lists:foldl(
        fun(Now, {_, _, Acc}) -> py_restart:died(Now, Acc) end, {none, 0, budget()}, lists:seq(0, 900)
    ),
    ?assert(length(maps:get(deaths, Budget)) =< 4).

a_death_that_is_excused_is_not_counted_test() ->
    Budget = py_restart:new(#{max => 0, within => 1_000, delay => 50, max_delay => 400}),
    {restarting, 0, Same} = py_restart:excused(Budget),
    ?assertEqual(Budget, Same).
