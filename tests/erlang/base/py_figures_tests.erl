%%% What the figures of a worker hold, and what is read out of them.
-module(py_figures_tests).

-include_lib("eunit/include/eunit.hrl").

-define(KINDS, [python, timeout, cancelled, worker_down, overload, nested]).
-define(TIMES_US, [0, 1, 7, 8, 15, 16, 17, 31, 32, 100, 999, 1_000, 4_095, 4_096, 65_535, 1_000_000, 3_600_000_000, (1 bsl 36) - 1]).

nothing_has_no_percentiles_test() ->
    #{calls := 0, errors := Errors, wait := #{count := 0, p50_us := undefined}, run := #{p99_us := undefined}, restarts := 0, recycles := 0} =
        py_figures:sum([]),
    ?assertEqual(lists:sort(?KINDS), lists:sort(maps:keys(Errors))).

a_time_is_read_out_an_eighth_too_high_at_the_most_test_() ->
    [
        ?_test(begin
            Figures = py_figures:new(),
            py_figures:waited(Us, Figures),
            #{wait := #{p50_us := P50, p99_us := P50}} = py_figures:sum([Figures]),
            ?assert(P50 >= Us andalso P50 - Us =< Us div 8)
        end)
     || Us <- ?TIMES_US
    ].

what_is_longer_than_a_day_or_before_its_time_has_a_place_test() ->
    Figures = py_figures:new(),
    py_figures:ran(-5, 1, Figures),
    py_figures:ran(1 bsl 60, 1, Figures),
    #{run := #{count := 2, p50_us := 0, p99_us := Most}} = py_figures:sum([Figures]),
    ?assertEqual((1 bsl 36) - 1, Most).

percentiles_are_those_of_all_together_test() ->
    {One, Other} = {py_figures:new(), py_figures:new()},
    py_figures:ran(10, 95, One),
    py_figures:ran(1_000, 4, Other),
    py_figures:ran(100_000, 1, Other),
    #{run := #{count := 100, p50_us := 10, p95_us := 10, p99_us := P99}} = py_figures:sum([One, Other]),
    ?assert(P99 >= 1_000 andalso P99 =< 1_125).

each_kind_is_counted_apart_test() ->
    Figures = py_figures:new(),
    [py_figures:count(Kind, 1, Figures) || Kind <- [ok, restart, recycle | ?KINDS]],
    ok = py_figures:count(ok, 2, Figures),
    #{calls := Calls, errors := Errors, restarts := 1, recycles := 1} = py_figures:sum([Figures]),
    ?assertEqual(3 + length(?KINDS), Calls),
    ?assertEqual([1], lists:usort(maps:values(Errors))).

a_bound_of_a_cumulative_histogram_counts_what_is_below_it_test_() ->
    [
        ?_test(begin
            Figures = py_figures:new(),
            [py_figures:ran(Us, 1, Figures) || Us <- [Bound - 1, Bound, Bound]],
            {_, Run} = py_figures:histograms([Figures]),
            {Buckets, _} = py_figures:cumulative(Run),
            ?assertEqual(1, proplists:get_value(Bound, Buckets)),
            ?assertEqual([3], lists:usort([Count || {Us, Count} <- Buckets, Us > Bound]) -- [1])
        end)
     || Bound <- [16, 64, 1_024, 1 bsl 20]
    ].

the_sum_of_a_histogram_is_within_an_eighth_test() ->
    Figures = py_figures:new(),
    [py_figures:waited(Us, Figures) || Us <- [3, 100, 5_000, 70_000, 1_000_000]],
    {Wait, _} = py_figures:histograms([Figures]),
    {_, Sum} = py_figures:cumulative(Wait),
    True = 1_075_103,
    ?assert(Sum >= True andalso Sum - True =< True div 8).
