%%% Runs whose node is killed, with `kill -9', again and again: what is known afterwards, and that no two attempts overlap.
%%%
%%% PY_RUN_KILLS and PY_RUN_COUNT have it done more often: `make test-runs' has 20 and 500.
-module(py_runs_deaths_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2]).
-export([
    a_run_that_was_begun_and_lost_is_an_error_once/1,
    a_node_that_is_back_at_once_waits_for_the_orphan/1,
    an_orphan_that_ends_its_run_has_ended_it/1,
    killed_again_and_again_every_run_has_its_result/1,
    without_retries_each_that_was_lost_is_an_error/1,
    a_second_node_is_told_the_firsts_process/1,
    a_full_disk_is_a_state/1
]).
-export([begin_many/3, ended/0]).

suite() -> [{timetrap, {minutes, 10}}].

all() ->
    [
        a_run_that_was_begun_and_lost_is_an_error_once,
        a_node_that_is_back_at_once_waits_for_the_orphan,
        an_orphan_that_ends_its_run_has_ended_it,
        killed_again_and_again_every_run_has_its_result,
        without_retries_each_that_was_lost_is_an_error,
        a_second_node_is_told_the_firsts_process,
        a_full_disk_is_a_state
    ].

init_per_testcase(Case, Config) ->
    Directory = filename:absname(filename:join(?config(priv_dir, Config), atom_to_list(Case))),
    ok = filelib:ensure_dir(filename:join(Directory, "x")),
    [{dir, Directory}, {state_dir, filename:join(Directory, "state")} | Config].

jobs(Config) -> filename:absname(filename:join(filename:dirname(filename:dirname(?config(data_dir, Config))), "py_runs_SUITE_data")).

pool(Size, Config) -> #{size => Size, python_path => [jobs(Config)]}.

node_with(StateDir, Size, Config) ->
    Node = py_runs_node:start(),
    ok = py_runs_node:call(Node, {py_runs_node, with_runs, [StateDir, pool(Size, Config)]}),
    Node.

trace(Name, Config) -> unicode:characters_to_binary(filename:join(?config(dir, Config), Name)).

start(Node, Args, Options) ->
    {ok, Run} = py_runs_node:call(Node, {py_run, start, [run_jobs, traced, Args, Options]}),
    Run.

a_run_that_was_begun_and_lost_is_an_error_once(Config) ->
    Traces = [trace(integer_to_list(N), Config) || N <- lists:seq(1, 3)],
    First = node_with(?config(state_dir, Config), 2, Config),
    [One, Two, Waiting] = [start(First, [Trace, 2.0, 7], #{key => Trace}) || Trace <- Traces],
    py_eventually:equals([1, 1, 0], fun() -> [py_run_traces:begun(Trace) || Trace <- Traces] end),
    py_runs_node:kill(First),
    Second = node_with(?config(state_dir, Config), 2, Config),
    [
        begin
            {ok, #{state := 'ERROR', message := <<"interrupted">>, attempt := 1}} = py_runs_node:call(Second, {py_run, wait, [Run, 30_000]}),
            ?assertEqual({error, {py, interrupted}}, py_runs_node:call(Second, {py_run, result, [Run]}))
        end
     || Run <- [One, Two]
    ],
    %% What had not begun begins now, once; the orphans count against nobody's limit.
    {ok, #{state := 'COMPLETED', attempt := 1}} = py_runs_node:call(Second, {py_run, wait, [Waiting, 30_000]}),
    ?assertEqual([1, 1, 1], [py_run_traces:begun(Trace) || Trace <- Traces]),
    %% A key of one that was lost blocks nobody.
    Next = start(Second, [hd(Traces), 0.01, 7], #{key => hd(Traces)}),
    ?assertNotEqual(One, Next),
    {ok, #{state := 'COMPLETED'}} = py_runs_node:call(Second, {py_run, wait, [Next, 30_000]}),
    py_runs_node:stop(Second).

%% The next node is up before the first one is killed: it has the directory as soon as that lets go.
a_node_that_is_back_at_once_waits_for_the_orphan(Config) ->
    Trace = trace("orphan", Config),
    Directory = ?config(state_dir, Config),
    First = node_with(Directory, 1, Config),
    Second = node_with(none, 1, Config),
    ok = py_runs_node:call(Second, {application, set_env, [py, state_dir, Directory]}),
    [Run, Other] = [start(First, [Each, Seconds, 7], #{retries => 1, backoff => 0}) || {Each, Seconds} <- [{Trace, 1.5}, {trace("waits", Config), 0.01}]],
    py_eventually:equals(1, fun() -> py_run_traces:begun(Trace) end),
    Killed = erlang:monotonic_time(millisecond),
    py_runs_node:kill(First),
    Listed = py_runs_node:call(Second, {py_run, list, []}),
    ct:comment("back after ~w ms", [erlang:monotonic_time(millisecond) - Killed]),
    ?assertMatch([#{id := Run, state := 'RUNNING'}, #{id := Other}], Listed),
    %% The orphan keeps its run from beginning, and no other run from its worker.
    {ok, #{state := 'COMPLETED', attempt := 2}} = py_runs_node:call(Second, {py_run, wait, [Run, 60_000]}),
    ?assertEqual({ok, 14}, py_runs_node:call(Second, {py_run, result, [Run]})),
    ?assertEqual({2, true}, {py_run_traces:begun(Trace), py_run_traces:is_apart(Trace)}),
    ?assertMatch({ok, #{state := 'COMPLETED', attempt := 1}}, py_runs_node:call(Second, {py_run, get, [Other]})),
    py_runs_node:stop(Second).

%% A Python ends half a second after its node at the most: what it has written then counts.
an_orphan_that_ends_its_run_has_ended_it(Config) ->
    Directory = ?config(state_dir, Config),
    First = node_with(Directory, 1, Config),
    Trace = trace("ends", Config),
    Run = start(First, [Trace, 0.15, 7], #{}),
    py_eventually:equals(1, fun() -> py_run_traces:begun(Trace) end),
    py_runs_node:kill(First),
    Second = node_with(Directory, 1, Config),
    {ok, #{state := State, attempt := 1}} = py_runs_node:call(Second, {py_run, wait, [Run, 30_000]}),
    Result = py_runs_node:call(Second, {py_run, result, [Run]}),
    %% On a slow machine it may not have come so far.
    ?assert({State, Result} =:= {'COMPLETED', {ok, 14}} orelse {State, Result} =:= {'ERROR', {error, {py, interrupted}}}),
    ?assertEqual({1, true}, {py_run_traces:begun(Trace), py_run_traces:is_apart(Trace)}),
    py_runs_node:stop(Second).

number(Variable, Default) ->
    case os:getenv(Variable) of
        false -> Default;
        Text -> list_to_integer(Text)
    end.

killed_again_and_again_every_run_has_its_result(Config) ->
    Count = number("PY_RUN_COUNT", 60),
    Ended = ended_after_kills(number("PY_RUN_KILLS", 4), Count, #{retries => 100, backoff => 0}, Config),
    ?assertEqual([{N, {ok, 2 * N}} || N <- lists:seq(1, Count)], lists:sort([{N, Result} || {N, _, Result} <- Ended])),
    ?assertEqual([], [N || {N, _, _} <- Ended, not py_run_traces:is_apart(trace(integer_to_list(N), Config))]),
    %% As many were begun as are counted.
    ?assertEqual([], [N || {N, Attempts, _} <- Ended, py_run_traces:begun(trace(integer_to_list(N), Config)) > Attempts]),
    ct:comment("~w runs, ~w attempts", [Count, lists:sum([Attempts || {_, Attempts, _} <- Ended])]).

without_retries_each_that_was_lost_is_an_error(Config) ->
    Count = number("PY_RUN_COUNT", 40),
    Ended = ended_after_kills(number("PY_RUN_KILLS", 2), Count, #{retries => 0}, Config),
    ?assertEqual(lists:seq(1, Count), lists:sort([N || {N, _, _} <- Ended])),
    ?assertEqual([], [{N, Result} || {N, _, Result} <- Ended, Result =/= {ok, 2 * N}, Result =/= {error, {py, interrupted}}]),
    %% None was begun twice, and what is right has run to its end.
    ?assertEqual([], [N || {N, Attempts, _} <- Ended, Attempts =/= 1 orelse py_run_traces:begun(trace(integer_to_list(N), Config)) > 1]),
    ?assertEqual([], [N || {N, _, {ok, _}} <- Ended, not lists:keymember(<<"end">>, 2, py_run_traces:lines(trace(integer_to_list(N), Config)))]),
    ct:comment("~w runs, ~w interrupted", [Count, length([1 || {_, _, {error, _}} <- Ended])]).

%% What became of so many runs whose node was killed so often.
ended_after_kills(Kills, Count, Options, Config) ->
    rand:seed(exsss, {1, 2, 3}),
    First = node_with(?config(state_dir, Config), 2, Config),
    _ = py_runs_node:call(First, {?MODULE, begin_many, [Count, ?config(dir, Config), Options]}, 120_000),
    _ = killed(Kills, Count, First, Config),
    Node = node_with(?config(state_dir, Config), 2, Config),
    Ended = py_runs_node:call(Node, {?MODULE, ended, []}, 300_000),
    py_runs_node:stop(Node),
    Ended.

killed(Left, Count, Node, Config) ->
    Begun = fun() -> length(filelib:wildcard(filename:join(?config(dir, Config), "[0-9]*"))) end,
    Before = Begun(),
    %% In the middle of what it does: while it reads the journal, while runs begin, while they run. No word says when that is.
    receive after rand:uniform(400) -> ok end,
    Left rem 2 =:= 0 andalso go_on(fun() -> Begun() > Before orelse Before >= Count end, Node),
    py_runs_node:kill(Node),
    Left > 1 andalso begin
        Next = node_with(?config(state_dir, Config), 2, Config),
        killed(Left - 1, Count, Next, Config)
    end.

go_on(Condition, Node) ->
    try
        py_eventually:holds(Condition)
    catch
        error:{never, _} ->
            Info = py_runs_node:call(Node, {py_run, info, []}),
            ct:fail({no_run_begins, Info, py_runs_node:call(Node, {py, status, []}), [Run || #{state := State} = Run <- py_runs_node:call(Node, {py_run, list, []}), State =/= 'COMPLETED']})
    end.

%%% In the nodes

%% Each by its key: those that are there are not begun again.
begin_many(Count, Directory, Options) ->
    [
        {ok, _} = py_run:start(run_jobs, traced, [unicode:characters_to_binary(filename:join(Directory, integer_to_list(N))), seconds(N), N],
            Options#{key => N, function => integer_to_binary(N)})
     || N <- lists:seq(1, Count)
    ].

%% Some end before their orphaned Python does, and some don't.
seconds(N) when N rem 10 =:= 1 -> 1.5;
seconds(_) -> 0.02.

ended() ->
    [
        begin
            {ok, #{attempt := Attempts}} = py_run:wait(Id, 240_000),
            {binary_to_integer(Function), Attempts, py_run:result(Id)}
        end
     || #{id := Id, function := Function} <- py_run:list()
    ].

%%% The directory, the disk

a_second_node_is_told_the_firsts_process(Config) ->
    Directory = ?config(state_dir, Config),
    First = node_with(Directory, 1, Config),
    {ok, _} = py_runs_node:call(First, {py_run, run, [math, sqrt, [4]]}),
    Second = node_with(Directory, 1, Config),
    OsPid = py_runs_node:os_pid(First),
    ?assertEqual({error, {py, {state_dir, Directory, {locked, OsPid}}}}, py_runs_node:call(Second, {py_run, list, []})),
    %% It serves for all that.
    ?assertEqual(3, py_runs_node:call(Second, {py, add, [1, 2]})),
    py_runs_node:stop(First),
    ?assertMatch([_], py_runs_node:call(Second, {py_run, list, []})),
    py_runs_node:stop(Second).

%% The limit on the size of a file is a disk that is full, and can be made larger.
a_full_disk_is_a_state(Config) ->
    case os:find_executable("prlimit") of
        false -> {skip, "no prlimit here"};
        _ ->
            Node = py_runs_node:start("trap '' XFSZ;"),
            ok = py_runs_node:call(Node, {py_runs_node, with_runs, [?config(state_dir, Config), pool(1, Config)]}),
            {ok, _} = py_runs_node:call(Node, {py_run, run, [math, sqrt, [4]]}),
            Trace = trace("full", Config),
            Running = start(Node, [Trace, 0.5, 3], #{}),
            Waiting = start(Node, [trace("later", Config), 0.01, 3], #{}),
            py_eventually:equals(1, fun() -> py_run_traces:begun(Trace) end),
            {ok, #{journal_bytes := Bytes}} = py_runs_node:call(Node, {py_run, info, []}),
            limit(Node, integer_to_list(Bytes + 10)),
            ?assertMatch({error, {py, {state_dir, _, _}}}, py_runs_node:call(Node, {py_run, start, [math, sqrt, [4]]})),
            %% What runs comes to its end, and nobody is told before it is written.
            ?assertEqual({error, {py, timeout}}, py_runs_node:call(Node, {py_run, wait, [Running, 1_500]})),
            ?assertMatch({ok, #{disk := Reason}} when Reason =/= ok, py_runs_node:call(Node, {py_run, info, []})),
            ?assertMatch({ok, #{state := 'RUNNING'}}, py_runs_node:call(Node, {py_run, get, [Running]})),
            ?assertEqual(3, py_runs_node:call(Node, {py, add, [1, 2]})),
            limit(Node, "unlimited"),
            [?assertMatch({ok, #{state := 'COMPLETED', attempt := 1}}, py_runs_node:call(Node, {py_run, wait, [Run, 30_000]})) || Run <- [Running, Waiting]],
            ?assertEqual({1, true}, {py_run_traces:begun(Trace), py_run_traces:is_apart(Trace)}),
            {ok, #{disk := ok}} = py_runs_node:call(Node, {py_run, info, []}),
            py_runs_node:stop(Node)
    end.

limit(Node, Bytes) ->
    "" = os:cmd(lists:concat(["prlimit --pid ", py_runs_node:os_pid(Node), " --fsize=", Bytes, ":unlimited"])).
