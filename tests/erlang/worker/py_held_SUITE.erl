%%% Answers that are ready do not wait for a call that never ends: Python, which writes them together, is asked for them.
-module(py_held_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([
    one_that_sleeps/1,
    one_that_computes/1,
    one_that_waits_for_a_thread/1,
    one_whose_result_is_endless/1,
    one_that_imports/1,
    twice_in_a_row/1,
    a_python_without_standard_error_holds_nothing/1
]).

%% Calls of a function before it is trusted to be fast, and then some.
-define(CALLS, 100).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, compiled}, {group, uncompiled}, {group, boxed}].

groups() ->
    Cases = [
        one_that_sleeps, one_that_computes, one_that_waits_for_a_thread, one_whose_result_is_endless, one_that_imports, twice_in_a_row,
        a_python_without_standard_error_holds_nothing
    ],
    [{compiled, Cases}, {uncompiled, [one_that_sleeps, one_that_computes]}, {boxed, [one_that_computes]}].

init_per_group(boxed, Config) ->
    case os:find_executable("bwrap") of
        false -> {skip, "no bwrap on PATH (apt-get install bubblewrap)"};
        _ -> started(#{sandbox => bwrap}, Config)
    end;
init_per_group(uncompiled, Config) ->
    started(#{python_path => [py_uncompiled:directory(?config(priv_dir, Config)), data(Config)]}, Config);
init_per_group(compiled, Config) ->
    started(#{}, Config).

started(Options, Config) ->
    Pool = #{size => 1, kill_after => 300, python_path => [data(Config)], restart => #{max => 1_000, delay => 1, max_delay => 1}},
    [{pool, maps:merge(Pool, Options)}, {is_boxed, is_map_key(sandbox, Options)} | Config].

end_per_group(_, _Config) -> ok.

init_per_testcase(Case, Config) ->
    ok = py_application:start([{default, ?config(pool, Config)}]),
    [{turn, filename:absname(filename:join(?config(priv_dir, Config), Case))} | Config].

end_per_testcase(_, _Config) -> py_application:stop().

data(Config) -> filename:absname(?config(data_dir, Config)).

one_that_sleeps(Config) -> before(py_held, number, [<<"sleeps">>], Config).

one_that_computes(Config) -> before(py_held, number, [<<"computes">>], Config).

one_that_waits_for_a_thread(Config) -> before(py_held, number, [<<"waits">>], Config).

one_whose_result_is_endless(Config) -> before(py_held, number, [<<"encodes">>], Config).

%% Its end is waited for, by the worker.
one_that_imports(Config) -> py_caller:kill(begun(py_held_import, anything, [], Config)).

twice_in_a_row(Config) ->
    before(py_held, number, [<<"sleeps">>], Config),
    before(py_held, number, [<<"sleeps">>], Config).

%% There is nobody who could ask it for them.
a_python_without_standard_error_holds_nothing(Config) ->
    undefined = py:func(py_held, lose_standard_error, []),
    before(py_held, number, [<<"sleeps">>], Config).

%% The answers to short calls come before a call that never ends, though all stand in the pipe together.
before(Module, Function, Args, Config) ->
    Endless = begun(Module, Function, Args, Config),
    %% Nobody wants it any more: the worker serves again.
    py_caller:kill(Endless),
    ?assertEqual(6, py:func(py_held, number, [6], #{timeout => 60_000})).

begun(Module, Function, Args, Config) ->
    [#{worker := Worker}] = py:workers(),
    [I = py:func(py_held, number, [I]) || I <- lists:seq(1, ?CALLS)],
    File = lists:concat([?config(turn, Config), erlang:unique_integer([positive])]),
    First = first(File, Worker, ?config(is_boxed, Config)),
    Short = [py:async(py_held, number, [I], #{worker => Worker}) || I <- lists:seq(1, 5)],
    stand(6, Config),
    Endless = py_caller:start(fun() -> py:func(Module, Function, Args, #{worker => Worker}) end),
    stand(7, Config),
    ok = file:write_file(File, <<>>),
    ?assertEqual([1, 2, 3, 4, 5], [py:await(Handle, 60_000) || Handle <- Short]),
    undefined = py:await(First, 60_000),
    in_flight(1),
    Endless.

first(File, Worker, false) -> py:async(py_held, until, [list_to_binary(File)], #{worker => Worker});
%% In a box there is no such file: it is long enough, mostly, for the others to stand behind it.
first(_File, Worker, true) -> py:async(time, sleep, [1], #{worker => Worker}).

%% So many have come, of which the first is still there.
stand(Count, Config) -> ?config(is_boxed, Config) orelse in_flight(Count).

in_flight(Count) -> py_eventually:equals([Count], fun() -> [In || #{in_flight := In} <- py:workers()] end).
