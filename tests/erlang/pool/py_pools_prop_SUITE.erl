%%% Pools as a state machine: random sequences of what an operator, a caller and an accident may do, beside a model.
%%%
%%% The model knows which pools there are and how many workers each has. It expects more of the pools than that they come
%%% back: a call of a pool that is there is answered with its value, whoever was killed just before; only what was running
%%% when its Python or its worker process was killed may fail.
%%%
%%% The driver is this suite's own, of a few dozen lines: PropEr is not there everywhere (Debian's package comes without the
%%% header file), and here every step has a meaning in every state, so shrinking is dropping steps. A failure tells the
%%% seed; PY_PROP_SEED=seed repeats it.
-module(py_pools_prop_SUITE).

-include_lib("common_test/include/ct.hrl").

-export([suite/0, all/0]).
-export([pools_do_as_the_model_says/1, the_driver_finds_and_shrinks_a_failure/1]).

-define(SEQUENCES, 30).
-define(STEPS, 15).
%% No sequence begins after this.
-define(ENOUGH_MS, 50_000).
-define(HUNG_MS, 45_000).
-define(SHRINK_MS, 60_000).
-define(NAMES, [red, blue]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [the_driver_finds_and_shrinks_a_failure, pools_do_as_the_model_says].

pools_do_as_the_model_says(_Config) ->
    Seed =
        case os:getenv("PY_PROP_SEED") of
            false -> rand:uniform(1 bsl 32);
            Text -> list_to_integer(Text)
        end,
    Run = fun(Steps) -> in_a_process(fun() -> sequence(Steps) end) end,
    case search(Run, Seed, ?SEQUENCES) of
        {ok, Count} ->
            {comment, lists:flatten(io_lib:format("~w sequences, seed ~w", [Count, Seed]))};
        {failed, Steps, Reason} ->
            ct:fail("PY_PROP_SEED=~w~nthe steps~n  ~tp~nfail with~n  ~tp", [Seed, Steps, Reason])
    end.

%% A driver that finds nothing would look the same as pools without a fault.
the_driver_finds_and_shrinks_a_failure(_Config) ->
    Run = fun(Steps) ->
        case [Step || {resize, red, _} = Step <- Steps] of
            [_, _ | _] -> {failed, two_resizes};
            _ -> ok
        end
    end,
    {failed, [{resize, red, _}, {resize, red, _}], two_resizes} = search(Run, 1, 1_000).

%%% The driver

search(Run, Seed, Sequences) ->
    rand:seed(exsss, Seed),
    search(Run, Sequences, 0, erlang:monotonic_time(millisecond) + ?ENOUGH_MS).

search(_Run, Sequences, Sequences, _) ->
    {ok, Sequences};
search(Run, Sequences, Done, Deadline) ->
    case erlang:monotonic_time(millisecond) > Deadline of
        true ->
            {ok, Done};
        false ->
            Steps = [step() || _ <- lists:seq(1, rand:uniform(2 * ?STEPS))],
            case Run(Steps) of
                ok -> search(Run, Sequences, Done + 1, Deadline);
                {failed, Reason} -> shrink(Run, [], Steps, Reason, erlang:monotonic_time(millisecond) + ?SHRINK_MS)
            end
    end.

%% Each step is left out once; where it fails all the same it stays out. Not every failure comes back in each run.
shrink(_Run, Kept, [], Reason, _) ->
    {failed, lists:reverse(Kept), Reason};
shrink(Run, Kept, [Step | Rest], Reason, Deadline) ->
    case erlang:monotonic_time(millisecond) < Deadline andalso Run(lists:reverse(Kept, Rest)) of
        {failed, Other} -> shrink(Run, Kept, Rest, Other, Deadline);
        _ -> shrink(Run, [Step | Kept], Rest, Reason, Deadline)
    end.

in_a_process(Fun) ->
    {Pid, Monitor} = spawn_monitor(Fun),
    Result =
        receive
            {'DOWN', Monitor, process, Pid, normal} -> ok;
            {'DOWN', Monitor, process, Pid, Reason} -> {failed, Reason}
        after ?HUNG_MS ->
            Where = process_info(Pid, current_stacktrace),
            exit(Pid, kill),
            receive {'DOWN', Monitor, process, Pid, _} -> {failed, {hung, Where}} end
        end,
    case {Result, py_application:stop()} of
        {ok, ok} -> ok;
        {ok, {fail, Left}} -> {failed, Left};
        {_, _} -> Result
    end.

%%% Steps

step() ->
    Name = one_of(?NAMES),
    one_of([
        {start, Name, rand:uniform(3)},
        {start, Name, rand:uniform(3)},
        {stop, Name},
        {resize, Name, rand:uniform(4)},
        {add_worker, Name},
        {remove_worker, Name, rand:uniform(4)},
        {restart_worker, Name, rand:uniform(4)},
        {kill_python, Name, rand:uniform(4)},
        {freeze_python, Name, rand:uniform(4)},
        {kill_worker, Name, rand:uniform(4)},
        {call, Name},
        {call, Name},
        {call_late, Name},
        {call_slowly, Name},
        {cancel, Name},
        {with_worker, Name}
    ]).

one_of(List) -> lists:nth(rand:uniform(length(List)), List).

%% The model: `Name => #{size, slow, disturbed}': how many workers, the monitors of calls that are still open, and whether
%% something was killed since all was well.
sequence(Steps) ->
    ok = py_application:start([{default, #{size => 1}}]),
    Model = lists:foldl(fun(Step, Model) -> checked(Step, Model) end, #{}, Steps),
    Settled = maps:fold(fun settled/3, #{}, Model),
    agree(Settled),
    Unread = process_info(self(), messages),
    Unread =:= {messages, []} orelse error({unread, Unread}).

checked(Step, Model) ->
    try
        Next = do(Step, Model),
        pools(Next),
        Next
    catch
        error:Reason:Stack -> error({at, Step, Model, Reason, Stack})
    end.

%% Which pools there are is never in doubt.
pools(Model) ->
    Expected = lists:sort([default | maps:keys(Model)]),
    Expected = py_registry:pools().

do({start, Name, Size}, Model) when is_map_key(Name, Model) ->
    {error, {py, {already_started, _}}} = py:start_pool(Name, options(Size)),
    Model;
do({start, Name, Size}, Model) ->
    {ok, _} = py:start_pool(Name, options(Size)),
    Model#{Name => #{size => Size, slow => [], disturbed => false}};
do(Step, Model) ->
    Name = element(2, Step),
    case Model of
        #{Name := Pool} ->
            case there(Step, Pool) of
                gone -> maps:remove(Name, Model);
                Next -> Model#{Name := Next}
            end;
        #{} ->
            missing(Step),
            Model
    end.

options(Size) ->
    #{size => Size, kill_after => 200, restart => #{max => 1_000, within => 1_000, delay => 10, max_delay => 10}}.

%% What becomes of a step for a pool that is not there.
missing({stop, Name}) -> {error, {py, {unknown_pool, Name}}} = py:stop_pool(Name);
missing({resize, Name, Size}) -> {error, {py, {unknown_pool, Name}}} = py:resize(Name, Size);
missing({add_worker, Name}) -> {error, {py, {unknown_pool, Name}}} = py:add_worker(Name);
missing({with_worker, Name}) -> {py, {unknown_pool, Name}} = failure(fun() -> py:with_worker(Name, fun() -> ok end) end);
missing({Step, Name, _}) when Step =/= start -> {py, {unknown_pool, Name}} = failure(fun() -> py:workers(Name) end);
missing({_Call, Name}) -> {py, {unknown_pool, Name}} = failure(fun() -> py:func(os, getpid, #{pool => Name}) end).

there({stop, Name}, #{size := Size} = Pool) ->
    %% What runs may end within `drain_timeout', which is longer.
    Killed = killed(Pool),
    ok = py:stop_pool(Name),
    collect(Killed),
    0 = length([Worker || {_, Worker} <- py_registry:workers(Name)]),
    true = Size > 0,
    gone;
there({resize, Name, Size}, Pool) ->
    ok = py:resize(Name, Size),
    Pool#{size := Size};
there({add_worker, Name}, #{size := Size} = Pool) ->
    {ok, Worker} = py:add_worker(Name),
    true = is_pid(Worker),
    Pool#{size := Size + 1};
there({remove_worker, Name, Nth}, #{size := Size} = Pool) ->
    with_worker(Name, Nth, Pool, fun(#{worker := Worker}) ->
        case py:remove_worker(Worker) of
            ok when Size > 1 -> Pool#{size := Size - 1};
            {error, {py, {last_worker, Name}}} when Size =:= 1 -> Pool;
            {error, {py, {unknown_worker, Worker}}} when map_get(disturbed, Pool) =/= false -> Pool
        end
    end);
there({restart_worker, Name, Nth}, Pool) ->
    with_worker(Name, Nth, Pool, fun(#{worker := Worker}) ->
        case py:restart_worker(Worker) of
            ok -> Pool;
            {error, {py, {unknown_worker, Worker}}} when map_get(disturbed, Pool) =/= false -> Pool;
            {error, {py, {worker_down, _}}} when map_get(disturbed, Pool) =/= false -> Pool
        end
    end);
there({kill_python, Name, Nth}, Pool) ->
    with_python(Name, Nth, Pool, "KILL");
there({freeze_python, Name, Nth}, Pool) ->
    %% It is killed by the first call that waits for it in vain, or when it is to leave.
    with_python(Name, Nth, Pool, "STOP");
there({kill_worker, Name, Nth}, Pool) ->
    with_worker(Name, Nth, Pool, fun(#{worker := Worker}) ->
        exit(Worker, kill),
        killed(Pool)
    end);
there({call, Name}, #{disturbed := Disturbed} = Pool) ->
    case result(fun() -> py:func(operator, add, [1, 2], #{pool => Name, timeout => 5_000}) end) of
        {ok, 3} -> Pool;
        %% Of one that is frozen.
        {py, timeout} when Disturbed =:= frozen -> Pool;
        {py, {worker_down, {deadline, killed}}} when Disturbed =:= frozen -> Pool
    end;
there({call_late, Name}, #{disturbed := Disturbed} = Pool) ->
    case result(fun() -> py:func(time, sleep, [60], #{pool => Name, timeout => 50}) end) of
        {py, timeout} -> Pool;
        {py, {worker_down, _}} when Disturbed =/= false -> Pool
    end;
there({call_slowly, Name}, #{slow := Slow} = Pool) ->
    {_, Monitor} = spawn_monitor(fun() -> exit(result(fun() -> py:func(time, sleep, [0.2], #{pool => Name, timeout => 8_000}) end)) end),
    Pool#{slow := [{Monitor, unharmed} | Slow]};
there({cancel, Name}, Pool) ->
    {Caller, Monitor} = spawn_monitor(fun() -> py:func(time, sleep, [60], #{pool => Name, timeout => 60_000}) end),
    %% Some are killed before they have called, some while they wait, some while Python runs their call.
    receive after rand:uniform(100) -> exit(Caller, kill) end,
    receive {'DOWN', Monitor, process, Caller, _} -> Pool end;
there({with_worker, Name}, #{disturbed := Disturbed} = Pool) ->
    Ask = fun() -> py:func(os, getpid, #{pool => Name, timeout => 5_000}) end,
    case result(fun() -> py:with_worker(Name, fun() -> {Ask(), Ask()} end) end) of
        {ok, {Same, Same}} -> Pool;
        {ok, {_, _}} when Disturbed =/= false -> Pool;
        {py, {unknown_worker, _}} when Disturbed =/= false -> Pool;
        {py, timeout} when Disturbed =:= frozen -> Pool;
        {py, {worker_down, _}} when Disturbed =:= frozen -> Pool
    end.

%% The nth of those that there are.
with_worker(Name, Nth, Pool, Fun) ->
    case py:workers(Name) of
        [] when map_get(disturbed, Pool) =/= false -> Pool;
        Workers -> Fun(lists:nth(1 + Nth rem length(Workers), Workers))
    end.

with_python(Name, Nth, Pool, Signal) ->
    with_worker(Name, Nth, Pool, fun
        (#{os_pid := OsPid}) when is_integer(OsPid), OsPid > 0 ->
            _ = os:cmd("kill -" ++ Signal ++ " " ++ integer_to_list(OsPid) ++ " 2>/dev/null"),
            case Signal of
                "STOP" -> (killed(Pool))#{disturbed := frozen};
                "KILL" -> killed(Pool)
            end;
        (_) ->
            Pool
    end).

%% What runs may fail from now on.
killed(#{slow := Slow, disturbed := Before} = Pool) ->
    Pool#{
        slow := [{Monitor, harmed} || {Monitor, _} <- Slow],
        disturbed := case Before of frozen -> frozen; _ -> true end
    }.

collect(#{slow := Slow, disturbed := Disturbed}) ->
    lists:foreach(
        fun({Monitor, Harm}) ->
            receive
                {'DOWN', Monitor, process, _, {ok, undefined}} -> ok;
                {'DOWN', Monitor, process, _, {py, {worker_down, _}}} when Harm =:= harmed; Disturbed =:= frozen -> ok;
                {'DOWN', Monitor, process, _, {py, timeout}} when Disturbed =:= frozen -> ok;
                {'DOWN', Monitor, process, _, {py, {unknown_pool, _}}} when Harm =:= harmed -> ok;
                {'DOWN', Monitor, process, _, Other} -> error({slow_call, Harm, Disturbed, Other})
            after 15_000 -> error({slow_call, Harm, unanswered})
            end
        end,
        Slow
    ).

%%% After the last step

settled(Name, Pool, Acc) ->
    collect(Pool),
    Acc#{Name => maps:get(size, Pool)}.

%% Every pool has its workers, each of them answers, and nothing is open.
agree(Sizes) ->
    lists:foreach(
        fun({Name, Size}) ->
            %% By way of a call that a frozen one does not answer, and is killed for.
            py_eventually:equals(lists:duplicate(Size, {ok, 3}), fun() -> answers(Name) end, 30_000),
            py_eventually:equals(lists:duplicate(Size, {serving, 0}), fun() ->
                [{State, InFlight} || #{state := State, in_flight := InFlight} <- py:workers(Name)]
            end),
            lists:foreach(fun(_) -> {ok, 3} = answer(#{pool => Name}) end, lists:seq(1, 2 * Size))
        end,
        [{default, 1} | maps:to_list(Sizes)]
    ).

answers(Name) -> [answer(#{worker => Worker}) || {_, Worker} <- py_registry:workers(Name)].

answer(Options) -> result(fun() -> py:func(operator, add, [1, 2], Options#{timeout => 1_000}) end).

result(Fun) ->
    try
        {ok, Fun()}
    catch
        error:{py, Reason} -> {py, Reason}
    end.

failure(Fun) ->
    {py, _} = result(Fun).
