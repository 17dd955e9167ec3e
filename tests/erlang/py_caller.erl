%%% Callers: calls in processes of their own, which a test can wait for or kill.
-module(py_caller).

-export([start/1, result/1, results/1, kill/1]).

-opaque caller() :: {pid(), reference()}.
-export_type([caller/0]).

-define(DEADLINE_MS, 60_000).

%% @doc Run a function in a process of its own.
-spec start(fun(() -> term())) -> caller().
start(Fun) ->
    Test = self(),
    spawn_monitor(fun() ->
        Result =
            try
                {ok, Fun()}
            catch
                error:Reason -> {error, Reason}
            end,
        Test ! {self(), Result}
    end).

%% @doc What it gave, or what it failed with.
-spec result(caller()) -> {ok, term()} | {error, term()} | {died, term()}.
result({Pid, Monitor}) ->
    receive
        {Pid, Result} ->
            demonitor(Monitor, [flush]),
            Result;
        {'DOWN', Monitor, process, Pid, Reason} ->
            {died, Reason}
    after ?DEADLINE_MS -> error({no_result, process_info(Pid, current_stacktrace)})
    end.

-spec results([caller()]) -> [{ok, term()} | {error, term()} | {died, term()}].
results(Callers) -> [result(Caller) || Caller <- Callers].

%% @doc End it, whatever it waits for.
-spec kill(caller()) -> ok.
kill({Pid, Monitor}) ->
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.
