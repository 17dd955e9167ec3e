%%% What `preload' saves: the time from a kill to the next answer, and the memory of eight workers.
-module(py_bench_preload).

-export([main/0]).

-define(WORKERS, 8).
%% In turn, so that what else the machine does meets all.
-define(POOLS, [bare, importing, preloaded]).

main() ->
    [Python, Rounds] = init:get_plain_arguments(),
    logger:set_primary_config(level, error),
    ok = application:load(py),
    ok = application:set_env(py, pools, [{default, #{size => 1, python => Python}}]),
    {ok, started} = py:start(),
    Modules = modules([["sklearn.cluster", "sklearn.ensemble"], ["numpy", "pandas"], ["numpy"]]),
    io:format("modules: ~ts~n", [lists:join(", ", Modules)]),
    [{ok, _} = py:start_pool(Pool, (options(Pool, Modules))#{size => 1, python => Python, restart => restart()}) || Pool <- ?POOLS],
    Samples = [{Pool, killed(Pool)} || _ <- lists:seq(1, list_to_integer(Rounds)), Pool <- ?POOLS],
    Bare = median(bare, Samples),
    [
        io:format("serves after a kill: ~-10s ~8.1f ms  ~6.2f of bare~n", [Pool, median(Pool, Samples) / 1000, median(Pool, Samples) / Bare])
     || Pool <- ?POOLS
    ],
    [ok = py:stop_pool(Pool) || Pool <- ?POOLS],
    [Importing, Preloaded] = [shares(Pool, (options(Pool, Modules))#{size => ?WORKERS, python => Python}) || Pool <- [importing, preloaded]],
    io:format("PSS of ~w: importing ~w MB, preloaded ~w MB, stubs and zygote among them: ~.2f~n", [
        ?WORKERS, Importing div 1024, Preloaded div 1024, Preloaded / Importing
    ]),
    {ok, stopped} = py:stop(),
    halt(0).

modules([Modules | Others]) ->
    try lists:foreach(fun(Module) -> py:func(importlib, import_module, [list_to_binary(Module)]) end, Modules) of
        ok -> Modules
    catch
        error:{python, 'builtins.ModuleNotFoundError', _, _} -> modules(Others)
    end.

options(bare, _Modules) -> #{};
options(importing, Modules) -> #{import => Modules, start_timeout => 120_000};
options(preloaded, Modules) -> #{preload => Modules, start_timeout => 120_000}.

%% Each death is replaced at once.
restart() -> #{max => 1_000_000, delay => 1}.

killed(Pool) ->
    [#{os_pid := OsPid}] = py:workers(Pool),
    Began = erlang:monotonic_time(microsecond),
    "" = os:cmd("kill -s KILL " ++ integer_to_list(OsPid)),
    answered(Pool, OsPid),
    erlang:monotonic_time(microsecond) - Began.

answered(Pool, Before) ->
    case try py:func(os, getpid, [], #{pool => Pool}) catch error:{py, {worker_down, _}} -> Before end of
        Before -> answered(Pool, Before);
        _ -> ok
    end.

median(Pool, Samples) ->
    Sorted = lists:sort([Sample || {Of, Sample} <- Samples, Of =:= Pool]),
    lists:nth((length(Sorted) + 1) div 2, Sorted).

%% All processes below this one that came with the pool, in KiB.
shares(Pool, Options) ->
    Before = below(os:getpid()),
    {ok, _} = py:start_pool(Pool, Options),
    %% Each has worked.
    [py:func(json, dumps, [[1, 2]], #{worker => Worker}) || #{worker := Worker} <- py:workers(Pool)],
    Sum = lists:sum([share(OsPid) || OsPid <- below(os:getpid()) -- Before]),
    ok = py:stop_pool(Pool),
    Sum.

below(OsPid) ->
    Children = string:lexemes(os:cmd("cat /proc/" ++ OsPid ++ "/task/*/children 2>/dev/null"), " \n"),
    lists:append([[Child | below(Child)] || Child <- Children]).

%% proc(5): "Pss:  1284 kB". The shell that asked is gone.
share(OsPid) ->
    case file:read_file("/proc/" ++ OsPid ++ "/smaps_rollup") of
        {ok, Text} ->
            case re:run(Text, "^Pss:\\s+([0-9]+)", [multiline, {capture, all_but_first, binary}]) of
                {match, [KiB]} -> binary_to_integer(KiB);
                nomatch -> 0
            end;
        {error, _} ->
            0
    end.
