%%% @doc A live table of the workers, for the shell.
%%% @private
-module(py_top).

-export([run/1]).

%% @doc Draw the table anew every so many milliseconds, until somebody presses enter.
-spec run(pos_integer()) -> ok.
run(EveryMs) ->
    Self = self(),
    {Reader, Monitor} = spawn_monitor(fun() ->
        _ = io:get_line(""),
        Self ! {self(), pressed}
    end),
    show(EveryMs, Reader, Monitor, #{}).

show(EveryMs, Reader, Monitor, Before) ->
    Workers = py_pools:workers(),
    Now = erlang:monotonic_time(millisecond),
    io:format("\e[H\e[2J~ts  (enter ends it)~n~n", [summary(Workers, Before, Now)]),
    py_pool_table:status(Workers),
    io:nl(),
    py_stats:print(lists:append([stats(Pool) || Pool <- py_registry:pools()])),
    receive
        {Reader, pressed} ->
            demonitor(Monitor, [flush]),
            ok;
        %% Nothing to read from: the table was shown once.
        {'DOWN', Monitor, process, Reader, _} ->
            ok
    after EveryMs -> show(EveryMs, Reader, Monitor, #{at => Now, calls => calls(Workers)})
    end.

%% Of one that has just been stopped there are none.
stats(Pool) ->
    try
        [py_stats:pool(Pool)]
    catch
        error:{py, _} -> []
    end.

summary(Workers, Before, Now) ->
    Serving = length([Worker || #{state := serving} = Worker <- Workers]),
    InFlight = lists:sum([Count || #{in_flight := Count} <- Workers]),
    Memory = lists:sum([Bytes || #{memory_bytes := Bytes} <- Workers, is_integer(Bytes)]),
    [
        io_lib:format("py: ~w of ~w workers serve, ~ts calls/s, ~w in flight, ~w MB", [
            Serving, length(Workers), rate(calls(Workers), Before, Now), InFlight, Memory div 1_000_000
        ]),
        shared(py_shared:info())
    ].

%% Said where there is any.
shared(#{bytes := Bytes, released_bytes := Released}) when Released > 0 ->
    io_lib:format(", ~w MB shared, ~w of them mapped after their release", [Bytes div 1_000_000, Released div 1_000_000]);
shared(#{bytes := Bytes}) when Bytes > 0 ->
    io_lib:format(", ~w MB shared", [Bytes div 1_000_000]);
shared(_) ->
    "".

rate(Calls, #{at := At, calls := Before}, Now) when Now > At -> integer_to_list(max(0, Calls - Before) * 1000 div (Now - At));
rate(_, _, _) -> "-".

calls(Workers) -> lists:sum([Calls || #{calls := Calls} <- Workers]).
