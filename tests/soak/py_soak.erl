%%% A soak run: load, chaos and gauges for some minutes, then the verdict.
-module(py_soak).

-export([main/0]).

-define(CALLERS, 100).
-define(LAST_CALL_MS, 60_000).

main() ->
    [Minutes, Seed, Python, Directory, Out, IsTerminal] = init:get_plain_arguments(),
    try run(seconds(Minutes), list_to_integer(Seed), Python, Directory, Out, IsTerminal =:= "true") of
        0 -> halt(0);
        _ -> halt(1)
    catch
        Class:Reason:Stack ->
            io:format(standard_error, "~nthe run itself failed: ~tp:~tp~n~tp~n", [Class, Reason, Stack]),
            halt(2)
    end.

seconds(Minutes) ->
    case string:to_float(Minutes) of
        {error, no_float} -> 60 * list_to_integer(Minutes);
        {Float, ""} -> round(60 * Float)
    end.

run(Seconds, Seed, Python, Directory, Out, IsTerminal) ->
    io:format("soak: ~w s, ~w callers, seed ~w, Erlang/OTP ~ts~n", [Seconds, ?CALLERS, Seed, erlang:system_info(otp_release)]),
    ok = py_soak_book:new(Out),
    ok = logger:remove_handler(default),
    ok = logger:add_handler(soak, py_soak_book, #{}),
    ok = application:load(py),
    ok = application:set_env(py, pools, py_soak_load:pools(Python, Directory)),
    ok = application:set_env(py, sessions, #{python => Python, log_level => warning}),
    {ok, started} = py:start(),
    Sink = py_soak_load:sink(),
    Keeper = py_soak_load:start(?CALLERS, Seed, Sink),
    Gauges = py_soak_gauges:start(max(1_000, Seconds * 1_000 div 100)),
    Chaos = py_soak_chaos:start(Seed, Keeper),
    watch(Seconds, Seconds, IsTerminal),
    ok = py_soak_chaos:stop(Chaos),
    Samples = py_soak_gauges:stop(Gauges),
    %% Who does not stop is found by the watch.
    Self = self(),
    spawn_link(fun() -> py_soak_load:stop(Keeper), Self ! stopped end),
    stopped(),
    Pools = py_registry:pools() -- [py_session_options:pool()],
    [last_call(Pool) || Pool <- Pools],
    [let_go(Pool, erlang:monotonic_time(millisecond) + ?LAST_CALL_MS) || Pool <- Pools],
    nothing_shared(erlang:monotonic_time(millisecond) + ?LAST_CALL_MS),
    no_session(erlang:monotonic_time(millisecond) + ?LAST_CALL_MS),
    FilesOf = filename:dirname(py_directory:path("shm")),
    {ok, stopped} = py:stop(),
    [py_soak_book:violation({process_left, Left}) || Left <- left(20)],
    filelib:is_dir(FilesOf) andalso py_soak_book:violation({files_left, FilesOf, file:list_dir(FilesOf)}),
    report(Samples).

%%% The run

watch(0, _, IsTerminal) ->
    IsTerminal andalso io:format("\r\e[K");
watch(Left, Seconds, IsTerminal) ->
    receive after 1_000 -> ok end,
    py_soak_book:check_open(),
    progress(Seconds - Left + 1, IsTerminal),
    watch(Left - 1, Seconds, IsTerminal).

progress(Second, true) -> io:format("\r\e[K~ts", [line(Second)]);
progress(Second, false) when Second rem 60 =:= 0 -> io:format("~ts~n", [line(Second)]);
progress(_, false) -> ok.

line(Second) ->
    Counts = py_soak_book:counts(),
    Calls = lists:sum([Count || {Work, _, Count} <- Counts, is_work(Work)]),
    Ok = lists:sum([Count || {Work, ok, Count} <- Counts, is_work(Work)]),
    Deeds = lists:sum([Count || {chaos, _, Count} <- Counts]),
    io_lib:format("~w s: ~w calls, ~w ok, ~w faults, ~w violations", [Second, Calls, Ok, Deeds, py_soak_book:violations()]).

stopped() ->
    receive
        stopped -> ok
    after 1_000 ->
        py_soak_book:check_open(),
        stopped()
    end.

%%% The end: every pool serves again, holds nothing, and goes

%% The frozen ones that nobody has called since are found by this.
last_call(Pool) -> last_call(Pool, erlang:monotonic_time(millisecond) + ?LAST_CALL_MS).

last_call(Pool, Deadline) ->
    Answers = [answers(Worker) || {_, Worker} <- py_registry:workers(Pool)],
    case Answers =/= [] andalso lists:all(fun(Answer) -> Answer =:= 3 end, Answers) of
        true ->
            ok;
        false ->
            case erlang:monotonic_time(millisecond) > Deadline of
                true -> py_soak_book:violation({no_longer_serves, Pool, Answers});
                false -> receive after 100 -> last_call(Pool, Deadline) end
            end
    end.

answers(Worker) ->
    try
        py:func(operator, add, [1, 2], #{worker => Worker, timeout => 2_000})
    catch
        error:Reason -> Reason
    end.

%% Calls and references are gone when their callers are; in both halves.
let_go(Pool, Deadline) ->
    py_soak_book:is_open(),
    Held = [
        {Worker, InFlight, References, Kept}
     || #{worker := Worker, in_flight := InFlight, references := References} <- py:workers(Pool),
        Kept <- [py:func(soak_work, held, #{worker => Worker, timeout => 5_000})],
        {InFlight, References, Kept} =/= {0, 0, 0}
    ],
    Monitors = [
        {Worker, monitors, Count}
     || {_, Worker} <- py_registry:workers(Pool),
        {monitors, List} <- [process_info(Worker, monitors)],
        Count <- [length(List)],
        Count > 0
    ],
    case Held ++ Monitors of
        [] ->
            ok;
        Left ->
            case erlang:monotonic_time(millisecond) > Deadline of
                true -> py_soak_book:violation({still_held, Pool, Left});
                false -> receive after 100 -> let_go(Pool, Deadline) end
            end
    end.

%% Files of shared memory are gone when those are that they were made for; so are sessions.
nothing_shared(Deadline) -> gone(shared_memory, fun() -> maps:get(files, py:shared_memory()) end, 0, Deadline).

no_session(Deadline) -> gone(sessions, fun py_session:list/0, [], Deadline).

gone(What, Look, None, Deadline) ->
    case Look() of
        None ->
            ok;
        Left ->
            case erlang:monotonic_time(millisecond) > Deadline of
                true -> py_soak_book:violation({still_there, What, Left});
                false -> receive after 100 -> gone(What, Look, None, Deadline) end
            end
    end.

left(0) ->
    py_os_process:descendants();
left(Looks) ->
    case py_os_process:descendants() of
        [] -> [];
        _ -> receive after 100 -> left(Looks - 1) end
    end.

%%% The report

report(Samples) ->
    Traces = py_soak_book:check_traces(),
    Counts = py_soak_book:counts(),
    io:format("~n~-18ts ~-36ts ~10ts~n", ["work", "answer", "count"]),
    [
        io:format("~-18tw ~-36ts ~10w~n", [Work, io_lib:format("~tw", [Answer]), Count])
     || {Work, Answer, Count} <- lists:sort(Counts), is_work(Work)
    ],
    io:format("~n~-55ts ~10ts~n", ["fault or operation", "count"]),
    [
        io:format("~-55ts ~10w~n", [io_lib:format("~tw ~tw", [Work, Answer]), Count])
     || {Work, Answer, Count} <- lists:sort(Counts), not is_work(Work)
    ],
    Verdict = py_soak_gauges:verdict(Samples),
    io:format("~n~-20ts ~14ts ~14ts~n", ["gauge", "second fifth", "last fifth"]),
    [
        begin
            io:format("~-20tw ~14w ~14w ~ts~n", [Gauge, Before, After, case IsFlat of true -> ""; false -> "grew" end]),
            IsFlat orelse py_soak_book:violation({grew, Gauge, Before, After})
        end
     || {Gauge, Before, After, IsFlat} <- Verdict
    ],
    Calls = lists:sum([Count || {Work, _, Count} <- Counts, is_work(Work)]),
    Ok = lists:sum([Count || {Work, ok, Count} <- Counts, is_work(Work)]),
    Violations = py_soak_book:violations(),
    io:format("~n~w calls, ~w answered with the right value, ~w traced, ~w violations: ~ts~n",
        [Calls, Ok, Traces, Violations, case Violations of 0 -> "passed"; _ -> "FAILED" end]),
    Violations.

is_work(Work) -> not lists:member(Work, [chaos, logged, resize, add_worker, remove_worker, restart_worker]).
