%%% Calls that are said to be repeatable: made again after the failures that were named, within one deadline, and never otherwise.
-module(py_retry_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_death_is_repeated_when_asked_for/1,
    an_exception_is_repeated_when_it_is_named/1,
    it_is_repeated_so_often_and_no_more/1,
    the_deadline_covers_all_attempts/1,
    a_full_queue_is_tried_again/1,
    every_form_of_a_call_takes_the_option/1,
    what_is_never_repeated_does_not_take_it/1,
    a_repeated_call_ends_with_its_caller/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        a_death_is_repeated_when_asked_for,
        an_exception_is_repeated_when_it_is_named,
        it_is_repeated_so_often_and_no_more,
        the_deadline_covers_all_attempts,
        a_full_queue_is_tried_again,
        every_form_of_a_call_takes_the_option,
        what_is_never_repeated_does_not_take_it,
        a_repeated_call_ends_with_its_caller
    ].

init_per_testcase(Case, Config) ->
    Options = #{size => 1, python_path => [?config(data_dir, Config)], restart => #{max => 1_000, within => 1_000, delay => 1}},
    ok = py_application:start([{default, Options}]),
    Directory = filename:join(?config(priv_dir, Config), Case),
    ok = filelib:ensure_dir(filename:join(Directory, "any")),
    [{directory, Directory}, {options, Options} | Config].

end_per_testcase(_, _Config) -> py_application:stop().

file(Name, Config) -> unicode:characters_to_binary(filename:join(?config(directory, Config), Name)).

runs(File) -> filelib:file_size(File).

%% Never without being asked.
a_death_is_repeated_when_asked_for(Config) ->
    Once = file(once, Config),
    ?assertError({py, {worker_down, {exit_status, 3, _}}}, py:func(py_retries, die, [Once, 1])),
    ?assertEqual(1, runs(Once)),
    File = file(file, Config),
    ?assertEqual(4, py:func(py_retries, die, [File, 3], #{retry => #{times => 5}})).

an_exception_is_repeated_when_it_is_named(Config) ->
    Named = #{times => 5, on => ['builtins.FileNotFoundError'], backoff => 1},
    ?assertEqual(3, py:func(py_retries, fail, [file(named, Config), 2], #{retry => Named})),
    ?assertEqual(3, py:func(py_retries, fail, [file(any, Config), 2], #{retry => Named#{on => [python]}})),
    %% A class, and none of those that it is of.
    Other = file(other, Config),
    ?assertError({python, 'builtins.FileNotFoundError', _, _}, py:func(py_retries, fail, [Other, 2], #{retry => Named#{on => ['builtins.OSError']}})),
    ?assertError({python, 'builtins.FileNotFoundError', _, _}, py:func(py_retries, fail, [Other, 2], #{retry => #{times => 5}})),
    ?assertEqual(2, runs(Other)).

it_is_repeated_so_often_and_no_more(Config) ->
    File = file(file, Config),
    Retry = #{times => 3, on => [python], backoff => 1},
    ?assertError({python, _, _, _}, py:func(py_retries, fail, [File, 100], #{retry => Retry})),
    ?assertEqual(4, runs(File)).

the_deadline_covers_all_attempts(Config) ->
    File = file(file, Config),
    %% An import may take long.
    1 = py:func(py_retries, runs, [file(warm, Config)]),
    ?assertError({py, timeout}, py:func(py_retries, sleep, [File, 60], #{timeout => 1_000, retry => #{times => 5}})),
    ?assertEqual(1, runs(File)),
    %% No pause that it has no time for: the last failure, long before the pause would be over.
    Late = file(late, Config),
    Long = #{times => 5, on => [python], backoff => 60_000},
    ?assertError({python, _, _, _}, py:func(py_retries, fail, [Late, 100], #{timeout => 20_000, retry => Long})),
    ?assertEqual(1, runs(Late)),
    %% Also that of the pool.
    {ok, _} = py:start_pool(hasty, (?config(options, Config))#{call_timeout => 2_000}),
    2 = py:func(py_retries, runs, [file(warm, Config)], #{pool => hasty, timeout => infinity}),
    Started = erlang:monotonic_time(millisecond),
    Many = #{times => 1_000, on => [python], backoff => {1, 200}},
    %% The last failure, or the deadline, where that passes in an attempt.
    ?assertEqual(
        over,
        try py:func(py_retries, fail, [file(hasty, Config), 100_000], #{pool => hasty, retry => Many}) catch
            error:{python, _, _, _} -> over;
            error:{py, timeout} -> over
        end
    ),
    ?assert(erlang:monotonic_time(millisecond) - Started < 30_000).

a_full_queue_is_tried_again(Config) ->
    {ok, _} = py:start_pool(narrow, (?config(options, Config))#{max_queue => 0}),
    Go = file(go, Config),
    Busy = py_caller:start(fun() -> py:func(py_retries, sleep, [Go, 1], #{pool => narrow}) end),
    py_eventually:holds(fun() -> filelib:is_file(Go) end),
    ?assertError({py, overload}, py:func(operator, add, [1, 2], #{pool => narrow})),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => narrow, retry => #{times => 1_000, backoff => {10, 50}}})),
    ?assertEqual({ok, 1}, py_caller:result(Busy)).

every_form_of_a_call_takes_the_option(Config) ->
    Retry = #{retry => #{times => 5, on => [python], backoff => 1}},
    Args = fun(Name) -> [file(Name, Config), 2] end,
    ?assertEqual(3, py:pycall(py_retries, fail, [{bytes, file(pycall, Config)}, 2], Retry)),
    ?assertEqual(3, py:await(py:async(py_retries, fail, Args(async), Retry))),
    ?assertEqual({reply, 3}, py:receive_response(py:send_request(py_retries, fail, Args(request), Retry), 20_000)),
    ?assertEqual([3], py:gather(py:scatter(py_retries, fail, [Args(scatter)], Retry))),
    ?assertMatch([{_, {ok, 3}}], py:call_all(py_retries, fail, Args(call_all), Retry)),
    ?assertEqual(3, py:func(py_retries, fail, Args(node), Retry#{node => node()})),
    ?assertEqual(3, py:func(py_retries, fail, Args(cluster), Retry#{scope => cluster})).

what_is_never_repeated_does_not_take_it(_Config) ->
    Retry = #{retry => #{times => 1}},
    ?assertError(badarg, py:stream(builtins, iter, [[1]], Retry)),
    ?assertError(badarg, py:pmap(math, sqrt, [1], Retry)),
    ?assertError(badarg, py:func(math, sqrt, [1], #{retry => 3})).

a_repeated_call_ends_with_its_caller(Config) ->
    File = file(file, Config),
    Retry = #{times => 1_000, on => [python], backoff => {20, 20}},
    Caller = py_caller:start(fun() -> py:func(py_retries, fail, [File, 100_000], #{retry => Retry}) end),
    Async = py:async(py_retries, fail, [file(async, Config), 100_000], #{retry => Retry}),
    py_eventually:holds(fun() -> runs(File) > 3 andalso runs(file(async, Config)) > 3 end),
    py_caller:kill(Caller),
    ok = py:cancel(Async),
    py_eventually:equals(0, fun() -> lists:sum([Open || #{in_flight := Open} <- py:workers()]) end),
    Runs = runs(File) + runs(file(async, Config)),
    %% Ten times the pause in which nothing may come.
    timer:sleep(200),
    ?assertEqual(Runs, runs(File) + runs(file(async, Config))).
