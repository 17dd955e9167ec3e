%%% @doc How the calls of a pool go, for operators: what runs now, what waits, how long calls wait and run, how they fail.
%%%
%%% The figures are those of the pool's slots since the pool was started ({@link py_figures}); what runs each worker says.
%%% @private
-module(py_stats).

-export([pool/1, workers/1, print/1]).
-export_type([stats/0, worker/0]).

-type stats() :: #{
    pool := py_config:pool_name(),
    size := non_neg_integer(),
    serving := non_neg_integer(),
    running := [running()],
    queue := non_neg_integer(),
    calls := non_neg_integer(),
    errors := #{py_figures:kind() => non_neg_integer()},
    wait := py_figures:latency(),
    run := py_figures:latency(),
    restarts := non_neg_integer(),
    recycles := non_neg_integer()
}.
-type running() :: #{worker := pid(), function := binary(), since := string(), for_us := non_neg_integer()}.
%% `since' is UTC; the one that has run longest is the first.

-type worker() :: #{
    pool := py_config:pool_name(),
    slot := py_registry:slot(),
    worker := pid(),
    info => py_worker:info(),
    running => [{Name :: binary(), Us :: non_neg_integer()}]
}.
%% What a worker has not said in time is missing.

%% A worker process answers at once, or is busy with a very large call.
-define(ASK_MS, 1_000).

%% @doc The figures of a pool. Fails with `{py, {unknown_pool, Pool}}' or `{py, not_started}'.
-spec pool(py_config:pool_name()) -> stats().
pool(Name) ->
    case py_registry:pool(Name) of
        {ok, _} -> stats(Name);
        {error, Reason} -> py_error:raise({py, Reason}, {stats, [Name]})
    end.

%% @doc What each worker of some pools does. All are asked at once, and waited for together.
-spec workers([py_config:pool_name()]) -> [worker()].
workers(Pools) ->
    Asked = [
        {#{pool => Pool, slot => Slot, worker => Worker}, py_worker:ask_info(Worker), py_worker:ask_running(Worker)}
     || Pool <- Pools, {Slot, Worker} <- py_registry:workers(Pool)
    ],
    EndMs = erlang:monotonic_time(millisecond) + ?ASK_MS,
    [with_running(py_worker:told_running(Running, EndMs), with_info(py_worker:told_info(Info, EndMs), Who)) || {Who, Info, Running} <- Asked].

with_info({ok, Info}, Worker) -> Worker#{info => Info};
with_info(error, Worker) -> Worker.

with_running({ok, #{running := Running}}, Worker) -> Worker#{running => Running};
with_running(error, Worker) -> Worker.

stats(Name) ->
    Workers = [Worker || {_Slot, Worker} <- py_registry:workers(Name)],
    Asked = [{Worker, py_worker:ask_running(Worker)} || Worker <- Workers],
    EndMs = erlang:monotonic_time(millisecond) + ?ASK_MS,
    Told = [{Worker, Say} || {Worker, Request} <- Asked, {ok, Say} <- [py_worker:told_running(Request, EndMs)]],
    Now = erlang:system_time(microsecond),
    Running = [running(Worker, Each, Now) || {Worker, #{running := Some}} <- Told, Each <- Some],
    InFlight = lists:sum([Count || {_, #{in_flight := Count}} <- Told]),
    (py_figures:sum(py_registry:all_figures(Name)))#{
        pool => Name,
        size => length(Workers),
        serving => length([Worker || {Worker, #{state := serving}} <- Told]),
        running => lists:sort(fun(#{for_us := A}, #{for_us := B}) -> A >= B end, Running),
        queue => max(0, InFlight - length(Running))
    }.

running(Worker, {Function, Us}, Now) ->
    Since = calendar:system_time_to_rfc3339((Now - Us) div 1_000, [{unit, millisecond}, {offset, "Z"}]),
    #{worker => Worker, function => Function, since => Since, for_us => Us}.

%% @doc Print these figures of several pools as a table, and what has run for long.
-spec print([stats()]) -> ok.
print(Pools) ->
    Format = "~-16ts ~8ts ~10ts ~9ts ~9ts ~9ts ~9ts ~9ts ~9ts ~9ts  ~ts~n",
    io:format(Format, [
        "POOL", "QUEUE", "CALLS", "WAIT p50", "p95", "p99", "RUN p50", "p95", "p99", "RECYCLES", "ERRORS"
    ]),
    lists:foreach(
        fun(#{pool := Pool, queue := Queue, calls := Calls, wait := Wait, run := Run, recycles := Recycles, errors := Errors}) ->
            Counts = [integer_to_list(Queue), integer_to_list(Calls)],
            io:format(Format, [atom_to_list(Pool)] ++ Counts ++ times(Wait) ++ times(Run) ++ [integer_to_list(Recycles), errors(Errors)])
        end,
        Pools
    ),
    lists:foreach(
        fun(#{worker := Worker, function := Function, for_us := Us}) ->
            io:format("~-16ts ~ts  for ~ts~n", [pid_to_list(Worker), Function, us(Us)])
        end,
        lists:append([Running || #{running := Running} <- Pools])
    ).

times(#{p50_us := P50, p95_us := P95, p99_us := P99}) -> [us(P50), us(P95), us(P99)].

us(undefined) -> "-";
us(Us) when Us < 1_000 -> io_lib:format("~w us", [Us]);
us(Us) when Us < 1_000_000 -> io_lib:format("~.1f ms", [Us / 1_000]);
us(Us) -> io_lib:format("~.1f s", [Us / 1_000_000]).

errors(Errors) ->
    case [io_lib:format("~ts ~w", [Kind, Count]) || {Kind, Count} <- lists:sort(maps:to_list(Errors)), Count > 0] of
        [] -> "-";
        Some -> lists:join(", ", Some)
    end.
