%%% Runs in boxes of bubblewrap's: what they give is read with care, and the node writes it; what is left of an attempt is known by the
%%% program that has made the box, and the box's first process.
-module(py_runs_boxes_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([
    results_of_any_size_are_there_after_a_restart/1,
    what_a_boxed_run_prints_is_its_log_without_secrets/1,
    what_a_boxed_run_raises_is_its_error/1,
    a_box_that_dies_costs_its_run_alone/1,
    a_boxed_run_is_stopped_and_tried_again/1,
    a_node_that_is_killed_leaves_no_box_running_when_the_next_attempt_begins/1
]).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [
        results_of_any_size_are_there_after_a_restart,
        what_a_boxed_run_prints_is_its_log_without_secrets,
        what_a_boxed_run_raises_is_its_error,
        a_box_that_dies_costs_its_run_alone,
        a_boxed_run_is_stopped_and_tried_again,
        a_node_that_is_killed_leaves_no_box_running_when_the_next_attempt_begins
    ].

init_per_suite(Config) ->
    case os:find_executable("bwrap") of
        false -> {skip, "no bubblewrap here"};
        _ -> Config
    end.

end_per_suite(_Config) -> ok.

init_per_testcase(Case, Config) ->
    Directory = filename:absname(filename:join(?config(priv_dir, Config), atom_to_list(Case))),
    Io = filename:join(Directory, "io"),
    ok = filelib:ensure_path(Io),
    ok = file:change_mode(Io, 8#777),
    _ = application:load(py),
    application:set_env(py, state_dir, filename:join(Directory, "state")),
    Own = [{io, Io}, {state_dir, filename:join(Directory, "state")} | Config],
    ok = py_application:start([{default, pool(Own)}]),
    Own.

pool(Config) -> #{size => 1, sandbox => bwrap, io => ?config(io, Config), python_path => [filename:absname(?config(data_dir, Config))]}.

end_per_testcase(_, _Config) ->
    Stopped = py_application:stop(),
    application:unset_env(py, state_dir),
    Stopped.

run(Function, Args, Options) ->
    {ok, Run} = py_run:start(box_jobs, Function, Args, Options#{strings => binary}),
    {ok, #{state := State}} = py_run:wait(Run, 60_000),
    {State, py_run:result(Run), Run}.

trace(Name, Config) -> filename:join(?config(io, Config), Name).

results_of_any_size_are_there_after_a_restart(Config) ->
    Runs = [begin {'COMPLETED', {ok, Value}, Run} = run(value, [Size], #{}), Size = byte_size(Value), Run end || Size <- [1, 300_000]],
    {ok, stopped} = py:stop(),
    ok = py_application:start([{default, pool(Config)}]),
    ?assertEqual([1, 300_000], [byte_size(Value) || Run <- Runs, {ok, Value} <- [py_run:result(Run)]]).

what_a_boxed_run_prints_is_its_log_without_secrets(Config) ->
    {'COMPLETED', {ok, undefined}, Run} = run(talks, [], #{}),
    {ok, Log} = py_run:logs(Run),
    [?assertNotEqual({Line, nomatch}, {Line, binary:match(Log, Line)}) || Line <- [<<"printed\n">>, <<"to standard error\n">>, <<"WARNING tea: logged\n">>]],
    Secrets = filename:join(?config(state_dir, Config), "secrets"),
    ok = filelib:ensure_path(Secrets),
    ok = file:write_file(filename:join(Secrets, "TOKEN"), "oolong-27"),
    ok = file:change_mode(filename:join(Secrets, "TOKEN"), 8#600),
    {'ERROR', {error, {python, 'builtins.ValueError', "refused: ***", _}}, Secret} = run(raises, [<<"TOKEN">>], #{secrets => [<<"TOKEN">>]}),
    {ok, Hidden} = py_run:logs(Secret),
    ?assertNotEqual(nomatch, binary:match(Hidden, <<"it is ***">>)),
    ?assertEqual(nomatch, binary:match(Hidden, <<"oolong-27">>)).

what_a_boxed_run_raises_is_its_error(_Config) ->
    {'ERROR', {error, {python, 'box_jobs.OwnError', "mine", _}}, Run} = run(raises_own, [], #{}),
    {ok, #{message := <<"box_jobs.OwnError: mine">>}} = py_run:get(Run),
    {ok, Log} = py_run:logs(Run),
    ?assertNotEqual(nomatch, binary:match(Log, <<"raise OwnError">>)).

a_box_that_dies_costs_its_run_alone(_Config) ->
    {'ERROR', {error, {py, {worker_down, _}}}, Run} = run(exits, [], #{}),
    {ok, #{message := Message, process := #{inside := [_ | _]}}} = py_run:get(Run),
    ?assertNotEqual(nomatch, binary:match(Message, <<"interrupted">>)),
    {'COMPLETED', {ok, <<"x">>}, _} = run(value, [1], #{}).

a_boxed_run_is_stopped_and_tried_again(Config) ->
    {ok, Run} = py_run:start(box_jobs, traced, [<<"stopped">>, 60]),
    py_eventually:equals(1, fun() -> py_run_traces:begun(trace("stopped", Config)) end),
    {ok, #{process := Process}} = py_run:get(Run),
    ok = py_run:stop(Run),
    {ok, #{state := 'STOPPED'}} = py_run:wait(Run, 60_000),
    ?assertEqual([], py_fence:left(Process)),
    Stopped = length(py_run_traces:lines(trace("stopped", Config))),
    {'COMPLETED', _, _} = run(value, [1], #{}),
    ?assertEqual(Stopped, length(py_run_traces:lines(trace("stopped", Config)))).

a_node_that_is_killed_leaves_no_box_running_when_the_next_attempt_begins(Config) ->
    {ok, stopped} = py:stop(),
    Start = fun() ->
        Node = py_runs_node:start(),
        ok = py_runs_node:call(Node, {py_runs_node, with_runs, [?config(state_dir, Config), pool(Config)]}),
        Node
    end,
    First = Start(),
    {ok, Run} = py_runs_node:call(First, {py_run, start, [box_jobs, traced, [<<"killed">>, 1.5], #{retries => 1, backoff => 0}]}),
    {ok, Lost} = py_runs_node:call(First, {py_run, start, [box_jobs, value, [1]]}),
    py_eventually:equals(1, fun() -> py_run_traces:begun(trace("killed", Config)) end),
    py_runs_node:kill(First),
    Second = Start(),
    {ok, #{state := 'COMPLETED', attempt := 2}} = py_runs_node:call(Second, {py_run, wait, [Run, 60_000]}, 70_000),
    ?assertEqual({ok, 7}, py_runs_node:call(Second, {py_run, result, [Run]})),
    ?assertEqual({2, true}, {py_run_traces:begun(trace("killed", Config)), py_run_traces:is_apart(trace("killed", Config))}),
    {ok, #{state := 'COMPLETED', attempt := 1}} = py_runs_node:call(Second, {py_run, wait, [Lost, 60_000]}, 70_000),
    py_runs_node:stop(Second).
