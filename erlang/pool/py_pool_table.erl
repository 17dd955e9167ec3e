%%% @doc What workers do as tables for people: each worker of a node, the pools of several nodes.
%%% @private
-module(py_pool_table).

-export([status/1, codec_advice/1, cluster/1]).

%% @doc Print workers as a table.
-spec status([py_worker:info()]) -> ok.
status(Workers) ->
    Format = "~-16ts ~-12ts ~8ts ~-10ts ~-9ts ~10ts ~9ts ~6ts ~8ts ~7ts ~10ts~n",
    io:format(Format, [
        "POOL", "WORKER", "OS PID", "STATE", "CODEC", "CALLS", "IN FLIGHT", "REFS", "RESTARTS", "MB", "UPTIME"
    ]),
    [
        io:format(Format, [
            atom_to_list(Pool),
            pid_to_list(Worker),
            number(OsPid),
            atom_to_list(State),
            atom_to_list(Codec),
            number(Calls),
            number(InFlight),
            number(References),
            number(Restarts),
            megabytes(Memory),
            uptime(Uptime)
        ])
     || #{
            pool := Pool,
            worker := Worker,
            os_pid := OsPid,
            state := State,
            codec := Codec,
            calls := Calls,
            in_flight := InFlight,
            references := References,
            restarts := Restarts,
            uptime_ms := Uptime,
            memory_bytes := Memory
        } <- Workers
    ],
    io:put_chars(codec_advice(Workers)).

%% @doc What to do about the codec in Python; nothing where none of these workers has it.
-spec codec_advice([py_worker:info()]) -> iodata().
codec_advice(Workers) ->
    case lists:usort([Pool || #{codec := reference, pool := Pool} <- Workers]) of
        [] ->
            [];
        Pools ->
            io_lib:format(
                "reference is the codec in Python: calls take 2 to 5 times as long. For the compiled one install erl-bridge in the~n"
                "interpreter of ~ts: py:doctor() says how. In a clone, make setup does, given a C compiler and Python's headers.~n",
                [lists:join(", ", [atom_to_list(Pool) || Pool <- Pools])]
            )
    end.

%% @doc Print the workers of several nodes as a table of nodes and pools.
-spec cluster([py_worker:info()]) -> ok.
cluster(Workers) ->
    Format = "~-28ts ~-16ts ~8ts ~8ts ~9ts ~12ts~n",
    io:format(Format, ["NODE", "POOL", "WORKERS", "SERVING", "IN FLIGHT", "CALLS"]),
    Places = maps:groups_from_list(fun(#{worker := Worker, pool := Pool}) -> {node(Worker), Pool} end, Workers),
    [
        io:format(Format, [
            atom_to_list(Node),
            atom_to_list(Pool),
            number(length(Infos)),
            number(length([Info || #{state := serving} = Info <- Infos])),
            number(lists:sum([InFlight || #{in_flight := InFlight} <- Infos])),
            number(lists:sum([Calls || #{calls := Calls} <- Infos]))
        ])
     || {{Node, Pool}, Infos} <- lists:sort(maps:to_list(Places))
    ],
    ok.

megabytes(undefined) -> "-";
megabytes(Bytes) -> io_lib:format("~.1f", [Bytes / 1_000_000]).

number(undefined) -> "-";
number(Number) -> integer_to_list(Number).

uptime(Ms) ->
    {Days, {H, M, S}} = calendar:seconds_to_daystime(Ms div 1000),
    case Days of
        0 -> io_lib:format("~2..0w:~2..0w:~2..0w", [H, M, S]);
        _ -> io_lib:format("~wd ~2..0w:~2..0w", [Days, H, M])
    end.
