%%% How the cost of one item grows with how many there are: workers, callers, handles, sessions, streams at 1, 10 and 100 times.
%%%
%%% Prints one JSON object a line, `{"subject": .., "count": .., "microseconds": ..}', for bench/growth/report.py.
-module(py_bench_growth).

-export([main/0]).

%% What one sample takes, about.
-define(SAMPLE_MS, 400).
-define(CALLERS, 32).
-define(STREAM_ITEMS, 60_000).
-define(EVALS, 400).
-define(SETTLE_MS, 500).
-define(COLLECTIONS, 20).
%% Beyond this a process that can't end is killed with the run.
-define(PATIENCE_MS, 300_000).

main() ->
    [Python, Rounds] = init:get_plain_arguments(),
    logger:set_primary_config(level, error),
    ok = application:load(py),
    Pools = [{default, #{size => 2, python => Python}}, {one, #{size => 1, python => Python}}],
    ok = application:set_env(py, pools, Pools),
    ok = application:set_env(py, sessions, #{python => Python, max => 200}),
    {ok, started} = py:start(),
    _ = timer:kill_after(?PATIENCE_MS * list_to_integer(Rounds)),
    [round(Number, Python) || Number <- lists:seq(1, list_to_integer(Rounds))],
    {ok, stopped} = py:stop(),
    halt(0).

round(Number, Python) ->
    io:format(standard_error, "round ~w~n", [Number]),
    [queued(Count) || Count <- [1_000, 10_000, 100_000]],
    %% What a pool of 64 takes beside one of 2 is among the budgets.
    [workers(Count, Python) || Count <- [1, 2, 10, 64, 100]],
    [callers(Count) || Count <- [10, 100, 1_000, 10_000]],
    [handles(Count) || Count <- [1_000, 10_000, 100_000]],
    [sessions(Count) || Count <- [1, 10, 100]],
    [streams(Count) || Count <- [1, 10, 100]].

sample(Subject, Count, Value) ->
    io:format("{\"subject\": \"~ts\", \"count\": ~w, \"value\": ~w}~n", [Subject, Count, float(Value)]).

%% Tiny calls, in pools of so many workers.
workers(Count, Python) ->
    {ok, _} = py:start_pool(grown, #{size => Count, python => Python}),
    sample("workers: a tiny call, 32 callers (us)", Count, calls(grown, ?CALLERS)),
    ok = py:stop_pool(grown).

callers(Count) -> sample("callers: a tiny call, 2 workers (us)", Count, calls(default, Count)).

%% The time of all by the calls of all: what one of them costs. None begins before all callers are there; they are not linked, and their
%% numbers are taken as they come: ends and a search for each of ten thousand processes cost more than what is measured.
calls(Pool, Callers) ->
    Self = self(),
    Caller = fun() -> receive {until, Ms} -> Self ! {done, call_until(Pool, Ms, 0)} end end,
    Pids = [spawn(Caller) || _ <- lists:seq(1, Callers)],
    Start = erlang:monotonic_time(microsecond),
    Until = erlang:monotonic_time(millisecond) + ?SAMPLE_MS,
    _ = [Pid ! {until, Until} || Pid <- Pids],
    Done = lists:sum([receive {done, Number} -> Number end || _ <- Pids]),
    (erlang:monotonic_time(microsecond) - Start) / Done.

call_until(Pool, Until, Done) ->
    3 = py:func(operator, add, [1, 2], #{pool => Pool}),
    case erlang:monotonic_time(millisecond) < Until of
        true -> call_until(Pool, Until, Done + 1);
        false -> Done + 1
    end.

handles(Count) ->
    {Time, _} = timer:tc(fun() ->
        Handles = [py:async(operator, neg, [N]) || N <- lists:seq(1, Count)],
        Count = length(py:gather(Handles))
    end),
    sample("handles: py:async and py:gather (us)", Count, Time / Count).

%% What a call holds of the BEAM's memory while it waits behind another, which goes on for as long as that takes. A process that has many in
%% hand has a larger heap, whatever they are: so some are there before.
queued(Count) ->
    Held = py:async(time, sleep, [600], #{pool => one}),
    Queue = fun(Calls) -> [py:async(operator, neg, [N], #{pool => one}) || N <- lists:seq(1, Calls)] end,
    Some = Queue(?CALLERS),
    Before = settled(),
    Handles = Queue(Count),
    sample("queued: memory of an async call (bytes)", Count, (settled() - Before) / Count),
    ok = py:cancel(Held),
    _ = py:gather(Some ++ Handles).

%% The heaps of what was measured before shrink in steps, one for each collection, and a worker gives its own back a moment later.
settled() ->
    timer:sleep(?SETTLE_MS),
    _ = [erlang:garbage_collect(Pid) || _ <- lists:seq(1, ?COLLECTIONS), Pid <- processes()],
    erlang:memory(total).

sessions(Count) ->
    Sessions = [py_session:open() || _ <- lists:seq(1, Count)],
    %% Each has its interpreter before it is measured.
    Statement = fun(Session) -> py_session:sync(py_session:exec(Session, <<"x = 1 + 2">>)) end,
    _ = lists:map(Statement, Sessions),
    Turns = max(1, ?EVALS div Count),
    {Time, _} = timer:tc(fun() -> [Statement(Session) || _ <- lists:seq(1, Turns), Session <- Sessions] end),
    sample("sessions: a statement, one after another (us)", Count, Time / (Turns * Count)),
    [py_session:close(Session) || Session <- Sessions].

%% That many on one worker at a time.
streams(Count) ->
    Each = ?STREAM_ITEMS div Count,
    {Time, _} = timer:tc(fun() ->
        Self = self(),
        Pids = [
            spawn_link(fun() ->
                Stream = py:stream(builtins, range, [Each], #{pool => one}),
                Self ! {self(), py:stream_fold(fun(_, Seen) -> Seen + 1 end, 0, Stream)}
            end)
         || _ <- lists:seq(1, Count)
        ],
        [receive {Pid, Each} -> ok end || Pid <- Pids]
    end),
    sample("streams: an item, 1 worker (us)", Count, Time / (Each * Count)).
