%%% @doc Who had a registered name before, and is about to end.
%%%
%%% What is left below a supervisor that was killed ends by itself, but not at once: where a processor is busy, or where it has workers
%%% to end, in a while. A supervisor that finds a name still taken tries again without a pause, ten times in a millisecond, and gives up,
%%% and the application with it. So whoever starts under a name waits until it is free.
%%% @private
-module(py_predecessor).

-export([await_end/1]).

%% As long as workers may take to end, and a while.
-define(MOST_MS, 30_000).

%% @doc Return when nobody has the name, or when whoever has it does not end.
-spec await_end(atom()) -> ok.
await_end(Name) ->
    case whereis(Name) of
        undefined ->
            ok;
        Pid ->
            Monitor = monitor(process, Pid),
            receive
                {'DOWN', Monitor, process, Pid, _} -> ok
            after ?MOST_MS ->
                demonitor(Monitor, [flush]),
                ok
            end
    end.
