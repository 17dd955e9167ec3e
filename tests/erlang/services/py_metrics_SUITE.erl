%%% The node's figures as Prometheus reads them, of real pools.
-module(py_metrics_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    each_line_is_a_sample_or_says_what_samples_are/1,
    calls_are_counted_by_pool_and_outcome/1,
    what_is_called_makes_nothing_grow/1,
    a_pool_that_is_stopped_is_told_of_no_more/1
]).

suite() -> [{timetrap, {minutes, 1}}].

all() ->
    [
        each_line_is_a_sample_or_says_what_samples_are,
        calls_are_counted_by_pool_and_outcome,
        what_is_called_makes_nothing_grow,
        a_pool_that_is_stopped_is_told_of_no_more
    ].

init_per_testcase(_Case, Config) ->
    ok = py_application:start([{default, #{size => 1}}, {'a"b', #{size => 1}}]),
    Config.

end_per_testcase(_Case, _Config) -> py_application:stop().

each_line_is_a_sample_or_says_what_samples_are(_Config) ->
    2.0 = py:func(math, sqrt, [4]),
    Lines = lines(),
    Sample = "^(# (HELP|TYPE) py_[a-z_]+ .+|py_[a-z_]+(\\{([a-z]+=\"([^\"\\\\]|\\\\[\\\\n\"])*\",?)+\\})? -?[0-9][0-9.e+-]*)$",
    ?assertEqual([], [Line || Line <- Lines, re:run(Line, Sample) =:= nomatch]),
    Families = [Name || <<"# TYPE ", Rest/binary>> <- Lines, [Name | _] <- [binary:split(Rest, <<" ">>)]],
    ?assertEqual(lists:usort(Families), lists:sort(Families)),
    ?assert(lists:member(<<"py_pool_workers{pool=\"a\\\"b\"} 1">>, Lines)),
    ?assertEqual(<<"text/plain; version=0.0.4; charset=utf-8">>, py_metrics:content_type()).

calls_are_counted_by_pool_and_outcome(_Config) ->
    [py:func(math, sqrt, [N]) || N <- lists:seq(1, 5)],
    ?assertError({python, _, _, _}, py:func(operator, truediv, [1, 0])),
    %% A worker counts after it has answered.
    py_eventually:holds(fun() -> lists:member(<<"py_calls_total{pool=\"default\",outcome=\"python\"} 1">>, lines()) end, 60_000),
    py_eventually:holds(fun() -> lists:member(<<"py_call_run_seconds_count{pool=\"default\"} 6">>, lines()) end, 60_000),
    Lines = lines(),
    ?assert(lists:member(<<"py_calls_total{pool=\"default\",outcome=\"ok\"} 5">>, Lines)),
    ?assert(lists:member(<<"py_call_run_seconds_bucket{pool=\"default\",le=\"+Inf\"} 6">>, Lines)),
    ?assert(lists:member(<<"py_call_run_seconds_count{pool=\"a\\\"b\"} 0">>, Lines)),
    ?assert(lists:member(<<"py_pool_workers_serving{pool=\"default\"} 1">>, Lines)).

what_is_called_makes_nothing_grow(_Config) ->
    2.0 = py:func(math, sqrt, [4]),
    Before = length(lines()),
    [py:func(operator, Name, [2, 2]) || Name <- [add, sub, mul, eq, lt, gt, 'and_', 'or_']],
    ?assertEqual(Before, length(lines())).

a_pool_that_is_stopped_is_told_of_no_more(_Config) ->
    ok = py:stop_pool('a"b'),
    ?assertEqual([], [Line || Line <- lines(), binary:match(Line, <<"a\\\"b">>) =/= nomatch]).

lines() -> binary:split(py_metrics:text(), <<"\n">>, [global, trim]).
