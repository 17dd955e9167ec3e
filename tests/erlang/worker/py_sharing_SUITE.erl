%%% No call waits while a worker of its pool idles: what has not begun goes there, once. Each case in the compiled codec and in the other.
-module(py_sharing_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([
    short_calls_do_not_wait_for_a_long_one/1,
    they_do_not_in_pools_of_other_schedulers/1,
    a_new_worker_takes_what_waits/1,
    what_is_bound_stays_in_the_pipe/1,
    a_python_that_has_lost_calls_serves_on/1,
    a_worker_that_comes_back_takes_what_waits/1,
    a_call_that_names_its_worker_stays/1,
    a_call_that_holds_a_reference_stays/1,
    a_call_that_waits_for_erlang_gets_what_waits/1,
    one_that_has_asked_erlang_and_runs_on_holds_up_none/1,
    tiny_calls_fill_few_workers/1,
    what_fills_a_worker_does_not_wait_for_a_slow_call/1,
    slow_calls_have_a_worker_each/1,
    a_queue_of_none_is_not_exceeded/1,
    a_queue_has_the_room_of_what_is_given_up/1,
    calls_that_are_given_up_do_not_run/1,
    none_begins_twice_whatever_dies/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, compiled}, {group, uncompiled}].

groups() ->
    Cases = [
        Case
     || {Case, 1} <- ?MODULE:module_info(exports), not lists:member(Case, [module_info, init_per_suite, end_per_suite])
    ],
    %% The codec in Python says nothing of tiny calls, and what stands in a pipe can't be taken back from it.
    [{compiled, Cases}, {uncompiled, Cases -- [tiny_calls_fill_few_workers, what_fills_a_worker_does_not_wait_for_a_slow_call]}].

init_per_group(Codec, Config) -> [{codec, Codec} | Config].

end_per_group(_, _Config) -> ok.

init_per_testcase(Case, Config) ->
    Path = [?config(data_dir, Config)] ++ [py_uncompiled:directory(?config(priv_dir, Config)) || ?config(codec, Config) =:= uncompiled],
    Pool = #{size => 2, kill_after => 300, python_path => Path, restart => #{max => 1_000, delay => 1, max_delay => 1}},
    ok = py_application:start([{default, maps:merge(Pool, options(Case))}]),
    [{file, filename:absname(filename:join(?config(priv_dir, Config), lists:concat([Case, "_", ?config(codec, Config)])))} | Config].

options(a_new_worker_takes_what_waits) -> #{size => 1};
options(what_is_bound_stays_in_the_pipe) -> #{size => 1};
options(a_python_that_has_lost_calls_serves_on) -> #{size => 1};
options(a_worker_that_comes_back_takes_what_waits) -> #{size => 2};
options(a_queue_of_none_is_not_exceeded) -> #{max_queue => 0};
options(a_queue_has_the_room_of_what_is_given_up) -> #{size => 1, max_queue => 1};
options(tiny_calls_fill_few_workers) -> #{size => many()};
options(what_fills_a_worker_does_not_wait_for_a_slow_call) -> #{size => many()};
options(slow_calls_have_a_worker_each) -> #{size => many()};
options(_) -> #{}.

%% More workers than processors.
many() -> erlang:system_info(schedulers_online) + 4.

end_per_testcase(_, _Config) -> py_application:stop().

call(Function, Args) -> call(Function, Args, #{}).

call(Function, Args, Options) -> py:func(py_shared_work, Function, Args, Options).

file(Config) -> list_to_binary(?config(file, Config)).

%% A call that runs until it is told to end, and has begun.
long(Config) -> long(Config, #{}).

long(Config, Options) ->
    Caller = py_caller:start(fun() -> call(until, [file(Config)], Options) end),
    py_eventually:holds(fun() -> lists:sum([1 || #{in_flight := 1} <- py:workers()]) > 0 end),
    Caller.

let_end(Config) -> ok = file:write_file(?config(file, Config), "").

short(Count) -> [py_caller:start(fun() -> call(pid, [0.002]) end) || _ <- lists:seq(1, Count)].

pids(Callers) -> lists:usort([Pid || {ok, Pid} <- py_caller:results(Callers)]).

%% All of the short ones have their answers before the long one has its.
short_calls_do_not_wait_for_a_long_one(Config) ->
    %% Where pipes held many calls just before.
    _ = py_caller:results([py_caller:start(fun() -> [call(pid, [0]) || _ <- lists:seq(1, 50)] end) || _ <- lists:seq(1, 10)]),
    Long = long(Config),
    [Other] = pids(short(100)),
    let_end(Config),
    {ok, Busy} = py_caller:result(Long),
    ?assertNotEqual(Busy, Other).

they_do_not_in_pools_of_other_schedulers(Config) ->
    [
        begin
            {ok, _} = py:start_pool(Scheduler, #{size => 2, scheduler => Scheduler, python_path => [?config(data_dir, Config)]}),
            _ = file:delete(?config(file, Config)),
            Long = py_caller:start(fun() -> call(until, [file(Config)], #{pool => Scheduler}) end),
            py_eventually:holds(fun() -> lists:sum([1 || #{in_flight := 1} <- py:workers(Scheduler)]) > 0 end),
            Short = [py_caller:start(fun() -> call(pid, [0.002], #{pool => Scheduler}) end) || _ <- lists:seq(1, 30)],
            ?assertMatch([_], pids(Short)),
            let_end(Config),
            ?assertMatch({ok, _}, py_caller:result(Long)),
            ok = py:stop_pool(Scheduler)
        end
     || Scheduler <- [random, round_robin]
    ].

a_new_worker_takes_what_waits(Config) ->
    Long = long(Config),
    Short = short(10),
    py_eventually:holds(fun() -> [#{in_flight := Count}] = py:workers(), Count =:= 11 end),
    %% With one worker there is no window: they stand in the pipe. The codec in Python leaves them there.
    [#{codec := Codec}] = py:workers(),
    ok = py:resize(default, 2),
    Before = [pids(Short) || Codec =:= native],
    let_end(Config),
    {ok, Busy} = py_caller:result(Long),
    case Codec of
        native -> ?assertMatch([[Other]] when Other =/= Busy, Before);
        reference -> ?assertEqual([Busy], pids(Short))
    end.

%% What is behind the slow one in the pipe and bound to its worker stays, and so does what is before that.
what_is_bound_stays_in_the_pipe(Config) ->
    [#{worker := One}] = py:workers(),
    Long = long(Config),
    Kept = short(3),
    py_eventually:holds(fun() -> [#{in_flight := Count}] = py:workers(), Count =:= 4 end),
    Bound = py_caller:start(fun() -> call(pid, [0], #{worker => One}) end),
    py_eventually:holds(fun() -> [#{in_flight := Count}] = py:workers(), Count =:= 5 end),
    Free = short(3),
    py_eventually:holds(fun() -> [#{in_flight := Count}] = py:workers(), Count =:= 8 end),
    [#{codec := Codec}] = py:workers(),
    ok = py:resize(default, 2),
    Moved = [pids(Free) || Codec =:= native],
    let_end(Config),
    {ok, Busy} = py_caller:result(Long),
    ?assertEqual([Busy], pids([Bound | Kept])),
    case Codec of
        native -> ?assertMatch([[Other]] when Other =/= Busy, Moved);
        reference -> ?assertEqual([Busy], pids(Free))
    end.

%% It goes on with what comes then, and it can be taken back again.
a_python_that_has_lost_calls_serves_on(Config) ->
    [
        begin
            _ = file:delete(?config(file, Config)),
            ok = py:resize(default, 1),
            Long = long(Config),
            Short = short(10),
            py_eventually:holds(fun() -> [#{in_flight := Count}] = py:workers(), Count =:= 11 end),
            ok = py:resize(default, 2),
            [#{worker := One} | _] = py:workers(),
            Bound = [py_caller:start(fun() -> call(pid, [0], #{worker => One}) end) || _ <- lists:seq(1, 5)],
            let_end(Config),
            {ok, Busy} = py_caller:result(Long),
            ?assertEqual([Busy], pids(Bound)),
            ?assertEqual(10, length([ok || {ok, _} <- py_caller:results(Short)])),
            ?assertMatch([#{restarts := 0} | _], py:workers())
        end
     || _ <- lists:seq(1, 5)
    ].

a_worker_that_comes_back_takes_what_waits(Config) ->
    [#{worker := One}, #{worker := Two}] = py:workers(),
    Ends = [long(Config, #{worker => One}), py_caller:start(fun() -> py:func(time, sleep, [30], #{worker => Two, timeout => 300}) end)],
    Short = short(20),
    ?assertMatch([_], pids(Short)),
    let_end(Config),
    ?assertMatch([{ok, _}, {error, {py, timeout}}], py_caller:results(Ends)).

a_call_that_names_its_worker_stays(Config) ->
    [#{worker := One, os_pid := OsPid}, _] = py:workers(),
    Long = long(Config, #{worker => One}),
    Bound = [py_caller:start(fun() -> call(pid, [0], #{worker => One}) end) || _ <- lists:seq(1, 5)],
    ?assertMatch([_], pids(short(20))),
    let_end(Config),
    ?assertEqual([OsPid], pids(Bound)),
    ?assertEqual({ok, OsPid}, py_caller:result(Long)).

a_call_that_holds_a_reference_stays(Config) ->
    [#{worker := One, os_pid := OsPid}, _] = py:workers(),
    Reference = py:func(builtins, object, [], #{return => ref, worker => One}),
    Long = long(Config, #{worker => One}),
    Holds = [py_caller:start(fun() -> py:func(builtins, id, [Reference]) end) || _ <- lists:seq(1, 5)],
    ?assertMatch([_], pids(short(20))),
    let_end(Config),
    ?assertMatch([{ok, Same}, {ok, Same}, {ok, Same}, {ok, Same}, {ok, Same}], py_caller:results(Holds)),
    ?assertEqual({ok, OsPid}, py_caller:result(Long)).

%% It runs inside the call that waits, since it may be what that waits for.
one_that_has_asked_erlang_and_runs_on_holds_up_none(Config) ->
    Begun = <<(file(Config))/binary, ".begun">>,
    Other = <<(file(Config))/binary, ".other">>,
    Asked = py_caller:start(fun() -> call(ask_until, [Begun, file(Config)]) end),
    py_eventually:holds(fun() -> filelib:is_file(Begun) end),
    Beside = py_caller:start(fun() -> call(until, [Other]) end),
    py_eventually:holds(fun() -> [1 || #{in_flight := 1} <- py:workers()] =:= [1, 1] end),
    Short = short(20),
    py_eventually:holds(fun() -> lists:sum([Count || #{in_flight := Count} <- py:workers()]) =:= 22 end),
    ok = file:write_file(Other, ""),
    [_] = pids(Short),
    ?assertMatch({ok, _}, py_caller:result(Beside)),
    let_end(Config),
    ?assertMatch({ok, _}, py_caller:result(Asked)).

a_call_that_waits_for_erlang_gets_what_waits(_Config) ->
    ?assertEqual(
        [{ok, 3}, {ok, 3}, {ok, 3}, {ok, 3}],
        py_caller:results([
            py_caller:start(fun() -> py:func(erl, call, ['py', func, [operator, add, [1, 2]]]) end)
         || _ <- lists:seq(1, 4)
        ])
    ).

%% Python's page says that they are tiny.
tiny_calls_fill_few_workers(_Config) ->
    Tiny = tiny(16),
    py_eventually:holds(fun() -> fillable() =/= [] end, 30_000),
    end_tiny(Tiny).

%% A call that comes to a worker that is filled with others.
what_fills_a_worker_does_not_wait_for_a_slow_call(Config) ->
    Tiny = tiny(16),
    py_eventually:holds(fun() -> fillable() =/= [] end, 30_000),
    Begun = <<(file(Config))/binary, ".begun">>,
    Long = py_caller:start(fun() -> call(begin_until, [Begun, file(Config)]) end),
    %% What has run in that worker before does not count.
    py_eventually:holds(fun() -> filelib:is_file(Begun) end),
    Short = short(30),
    Counts = counts(Tiny),
    Others = pids(Short),
    %% All go on, beside the long one.
    py_eventually:holds(fun() -> lists:all(fun({Before, Now}) -> Now > Before end, lists:zip(Counts, counts(Tiny))) end),
    let_end(Config),
    {ok, Busy} = py_caller:result(Long),
    ?assertNot(lists:member(Busy, Others)),
    end_tiny(Tiny).

%% Whatever was called before.
slow_calls_have_a_worker_each(Config) ->
    end_tiny(tiny(16)),
    Long = [py_caller:start(fun() -> call(until, [file(Config)]) end) || _ <- lists:seq(1, many())],
    py_eventually:equals(lists:duplicate(many(), 1), fun() -> [Count || #{in_flight := Count} <- py:workers()] end),
    let_end(Config),
    ?assertEqual(many(), length(pids(Long))).

%% Callers of what takes next to no time, one call after the other.
tiny(Count) ->
    Calls = counters:new(Count, []),
    {Calls, [py_caller:start(fun() -> tiny(Calls, N) end) || N <- lists:seq(1, Count)]}.

tiny(Calls, N) ->
    3 = py:add(1, 2),
    counters:add(Calls, N, 1),
    tiny(Calls, N).

counts({Calls, Callers}) -> [counters:get(Calls, N) || N <- lists:seq(1, length(Callers))].

end_tiny({_, Callers} = Tiny) ->
    py_eventually:holds(fun() -> lists:min(counts(Tiny)) > 10 end),
    lists:foreach(fun py_caller:kill/1, Callers),
    py_eventually:holds(fun() -> lists:all(fun(#{in_flight := Count}) -> Count =:= 0 end, py:workers()) end).

%% Workers that may have more, though others idle.
fillable() ->
    {ok, #{load := Load, size := Size}} = py_registry:pool(default),
    [Slot || Slot <- lists:seq(1, Size), py_registry:fill(Load, Slot) > 0].

a_queue_of_none_is_not_exceeded(Config) ->
    Long = long(Config),
    Results = py_caller:results(short(50)),
    ?assertEqual([], [Result || Result <- Results, not is_answer(Result)]),
    let_end(Config),
    ?assertMatch({ok, _}, py_caller:result(Long)).

is_answer({ok, Pid}) -> is_integer(Pid);
is_answer(Error) -> Error =:= {error, {py, overload}}.

%% At once, though Python is busy with another call.
a_queue_has_the_room_of_what_is_given_up(Config) ->
    Long = long(Config),
    GivenUp = py:async(py_shared_work, pid, [0]),
    py_eventually:holds(fun() -> [#{in_flight := Count}] = py:workers(), Count =:= 2 end),
    ?assertError({py, overload}, call(pid, [0])),
    ok = py:cancel(GivenUp),
    ?assertError({py, timeout}, in_the_queue()),
    ?assertError({py, timeout}, in_the_queue()),
    let_end(Config),
    ?assertMatch({ok, _}, py_caller:result(Long)).

%% As soon as the one before it has left.
in_the_queue() ->
    try
        call(pid, [0], #{timeout => 100})
    catch
        error:{py, overload} -> receive after 10 -> in_the_queue() end
    end.

calls_that_are_given_up_do_not_run(Config) ->
    File = <<(file(Config))/binary, ".noted">>,
    [#{worker := One}, #{worker := Two}] = py:workers(),
    Long = [long(Config, #{worker => Worker}) || Worker <- [One, Two]],
    GivenUp = [
        py_caller:start(fun() -> call(note, [File, N], #{timeout => 50}) end)
     || N <- lists:seq(1, 10)
    ],
    ?assertEqual(lists:duplicate(10, {error, {py, timeout}}), py_caller:results(GivenUp)),
    %% One that came within a millisecond of a long one stands in the pipe behind it.
    py_eventually:equals(10, fun() -> #{errors := #{timeout := Count}} = py:stats(default), Count end),
    let_end(Config),
    ?assertMatch([{ok, _}, {ok, _}], py_caller:results(Long)),
    ?assertEqual(7, call(note, [File, 7])),
    ?assertEqual({ok, <<"7\n">>}, file:read_file(File)).

%% Each call notes that it has begun. Interpreters are killed, calls are given up, and most of them wait behind others that are slow.
none_begins_twice_whatever_dies(Config) ->
    File = file(Config),
    Count = 1_500,
    Numbers = lists:seq(1, Count),
    Killer = py_caller:start(fun Kill() ->
        receive after 20 + rand:uniform(60) -> ok end,
        [exec_kill(OsPid) || #{os_pid := OsPid} <- [lists:nth(rand:uniform(2), py:workers())], is_integer(OsPid)],
        Kill()
    end),
    Results = [
        begin
            Callers = [py_caller:start(fun() -> call(noted, [File, N, seconds(N)], timeout(N)) end) || N <- Some],
            lists:zip(Some, py_caller:results(Callers))
        end
     || Some <- chunks(100, Numbers)
    ],
    py_caller:kill(Killer),
    {ok, Noted} = file:read_file(?config(file, Config)),
    Begun = [binary_to_integer(Line) || Line <- binary:split(Noted, <<"\n">>, [global]), Line =/= <<>>],
    ?assertEqual([], Begun -- lists:usort(Begun)),
    %% What has a result has begun, what was lost says so.
    All = lists:append(Results),
    ?assertEqual([], [N || {N, {ok, N}} <- All, not lists:member(N, Begun)]),
    ?assertEqual([], [Other || {N, Other} <- All, not is_end(N, Other)]).

is_end(N, {ok, N}) -> true;
is_end(_, {error, {py, {worker_down, _}}}) -> true;
is_end(N, {error, {py, timeout}}) -> N rem 10 =:= 0;
is_end(_, _) -> false.

%% Mostly short ones, so that pipes hold many; a slow one among them.
seconds(N) when N rem 25 =:= 0 -> 0.03;
seconds(_) -> 0.0.

timeout(N) when N rem 10 =:= 0 -> #{timeout => 40};
timeout(_) -> #{}.

chunks(_Size, []) -> [];
chunks(Size, List) ->
    {Some, Rest} = lists:split(min(Size, length(List)), List),
    [Some | chunks(Size, Rest)].

exec_kill(OsPid) -> os:cmd("kill -9 " ++ integer_to_list(OsPid)).
