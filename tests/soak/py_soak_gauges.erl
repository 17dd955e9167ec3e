%%% What must stay flat in a soak run: looked at in even intervals, compared at the end.
-module(py_soak_gauges).

-export([start/1, stop/1, verdict/1]).

%% Gauge => by how much the last fifth may be above the second: a part of it, and a number.
-define(GAUGES, [
    {beam_bytes, 0.25, 8_000_000},
    {calm_python_bytes, 0.15, 4_000_000},
    {python_bytes, 0.25, 8_000_000},
    {ports, 0.25, 16},
    {processes, 0.25, 30},
    {table_rows, 0.25, 16},
    {tables, 0.0, 2},
    {descriptors, 0.25, 24},
    {atoms, 0.0, 64},
    {pythons, 0.5, 4},
    {files, 0.25, 12},
    {shared_files, 0.5, 200},
    {sessions, 0.5, 10}
]).

start(EveryMs) -> spawn_link(fun() -> gauge(EveryMs, []) end).

stop(Gauges) ->
    Gauges ! {stop, self()},
    receive {Gauges, Samples} -> Samples end.

gauge(EveryMs, Samples) ->
    receive
        {stop, From} -> From ! {self(), lists:reverse(Samples)}
    after EveryMs ->
        gauge(EveryMs, [sample() | Samples])
    end.

sample() ->
    [garbage_collect(Pid) || Pid <- processes()],
    Infos = [Info || {_, Pid} <- workers(), {ok, Info} <- [py_worker:info(Pid)]],
    #{
        %% Without the books, which grow.
        beam_bytes => erlang:memory(total) - erlang:system_info(wordsize) * ets:info(py_soak_book, memory),
        calm_python_bytes => median(resident([Info || #{pool := calm} = Info <- Infos])),
        python_bytes => median(resident(Infos)),
        ports => length(erlang:ports()),
        processes => length(processes()),
        table_rows => ets:info(py_registry, size),
        tables => length(ets:all()),
        descriptors => length(list("/proc/self/fd")),
        atoms => erlang:system_info(atom_count),
        pythons => length(py_os_process:pythons()),
        files => length(list(filename:dirname(py_directory:path("x")))),
        shared_files => length(list(py_directory:path("shm"))),
        sessions => length(py_session:list())
    }.

workers() -> lists:append([py_registry:workers(Pool) || Pool <- py_registry:pools()]).

resident(Infos) -> [Bytes || #{memory_bytes := Bytes} <- Infos, is_integer(Bytes)].

list(Directory) ->
    case file:list_dir(Directory) of
        {ok, Names} -> Names;
        {error, _} -> []
    end.

median([]) -> 0;
median(Numbers) -> lists:nth((length(Numbers) + 1) div 2, lists:sort(Numbers)).

%% `[{Gauge, Before, After, IsFlat}]', from the medians of the second and the last fifth.
verdict(Samples) ->
    Fifth = max(1, length(Samples) div 5),
    Second = lists:sublist(Samples, min(Fifth + 1, length(Samples)), Fifth),
    Last = lists:nthtail(length(Samples) - Fifth, Samples),
    [
        begin
            Before = median([maps:get(Gauge, Sample) || Sample <- Second]),
            After = median([maps:get(Gauge, Sample) || Sample <- Last]),
            {Gauge, Before, After, After =< Before * (1 + Part) + Number}
        end
     || {Gauge, Part, Number} <- ?GAUGES
    ].
